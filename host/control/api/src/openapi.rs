//! The description of the API, generated from the routes themselves.

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::{MethodRouter, get};
use canopy_api_types::{PROBLEM_JSON, Problem};
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{Object, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    Components, ContentBuilder, InfoBuilder, OpenApi, OpenApiBuilder, Ref, RefOr, Required,
    ResponseBuilder,
};
use utoipa::{PartialSchema, ToSchema};
use utoipa_axum::router::OpenApiRouter;

use crate::{Api, routes};

const TOKEN: &str = "token";

/// The description of the API.
pub fn document() -> OpenApi {
    describe(routes::all()).1
}

/// Takes routes and their description apart, and adds to each operation what all have in common:
/// the names in its path, the token, and the problem document.
pub(crate) fn describe(routes: OpenApiRouter<Api>) -> (Router<Api>, OpenApi) {
    let (router, collected) = routes.split_for_parts();
    let info = InfoBuilder::new()
        .title("Canopy control API")
        .version("1")
        .description(Some(
            "Errors are problem documents (RFC 9457). Writes take `If-Match` with an ETag, and \
             `If-None-Match: *` to create only. POST takes `Idempotency-Key`.",
        ))
        .build();
    let mut components = collected.components.unwrap_or_else(Components::new);
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
    components.add_security_scheme(TOKEN, SecurityScheme::Http(bearer));
    components
        .schemas
        .insert("Problem".into(), Problem::schema());
    let mut nested = Vec::new();
    Problem::schemas(&mut nested);
    components.schemas.extend(nested);

    let mut paths = collected.paths;
    for (path, item) in &mut paths.paths {
        let operations = [
            &mut item.get,
            &mut item.put,
            &mut item.post,
            &mut item.delete,
            &mut item.patch,
        ];
        for operation in operations.into_iter().flatten() {
            complete(path, operation);
        }
    }
    let document = OpenApiBuilder::new()
        .info(info)
        .paths(paths)
        .components(Some(components))
        .security(Some([SecurityRequirement::new(TOKEN, [] as [&str; 0])]))
        .build();
    (router, document)
}

fn complete(path: &str, operation: &mut Operation) {
    let names = path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let parameters = operation.parameters.get_or_insert_default();
    parameters.splice(0..0, names.map(|name| RefOr::T(parameter(name))));
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name("Problem")))
        .build();
    let problem = ResponseBuilder::new()
        .description("The request was not carried out.")
        .content(PROBLEM_JSON, content)
        .build();
    operation
        .responses
        .responses
        .insert("default".into(), RefOr::T(problem));
}

fn parameter(name: &str) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .schema(Some(Object::with_type(Type::String)))
        .build()
}

/// The route that serves `document`.
pub(crate) fn serve(document: &OpenApi) -> MethodRouter<Api> {
    let text = serde_json::to_string_pretty(document).unwrap_or_default();
    get(move || {
        let text = text.clone();
        async move { ([(CONTENT_TYPE, "application/json")], text).into_response() }
    })
}
