//! From a request's path and method to its handler.

use http::header::{ALLOW, HeaderValue};
use http::{Method, StatusCode};

use crate::extract::Parameters;
use crate::{Handler, IntoResponse, Problem, Request, Response};

type BoxedHandler = Box<dyn Fn(Request) -> Response>;
type Finish = Box<dyn Fn(Response) -> Response>;

/// The routes of an application.
///
/// A path's `{name}` stands for one segment and `{*name}` for all that are left; static parts win
/// over parameters. Nothing is redirected: `/a` and `/a/` are two paths.
///
/// ```
/// use canopy_sdk::{Body, Json, Path, Router, StatusCode, get, http::Request};
///
/// let app = Router::new()
///     .route("/", get(|| "welcome"))
///     .route("/square/{n}", get(|Path(n): Path<u32>| Json(n * n)));
///
/// let response = app.call(Request::get("/square/12").body(Body::empty()).unwrap());
/// assert_eq!(response.status(), StatusCode::OK);
/// assert_eq!(response.into_body().read_to_string(100).unwrap(), "144");
///
/// let response = app.call(Request::get("/square/x").body(Body::empty()).unwrap());
/// assert_eq!(response.status(), StatusCode::BAD_REQUEST);
/// ```
#[derive(Default)]
pub struct Router {
    paths: matchit::Router<usize>,
    methods: Vec<(String, MethodRouter)>,
    fallback: Option<BoxedHandler>,
    finish: Vec<Finish>,
}

impl Router {
    /// No routes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the handlers of `path`.
    ///
    /// # Panics
    /// If `path` is malformed or there is a route already that matches the same.
    #[must_use]
    pub fn route(mut self, path: &str, methods: MethodRouter) -> Self {
        if let Err(error) = self.paths.insert(path, self.methods.len()) {
            panic!("route {path:?}: {error}");
        }
        self.methods.push((path.to_owned(), methods));
        self
    }

    /// Adds all routes of `inner`, each with `prefix` before its path. The fallback and the
    /// response functions of `inner` are not taken over.
    ///
    /// # Panics
    /// As [`Router::route`].
    #[must_use]
    pub fn nest(mut self, prefix: &str, inner: Router) -> Self {
        for (path, methods) in inner.methods {
            let path = match path.as_str() {
                "/" => prefix.to_owned(),
                rest => format!("{prefix}{rest}"),
            };
            self = self.route(&path, methods);
        }
        self
    }

    /// What answers requests to all other paths; without it they are answered by 404.
    #[must_use]
    pub fn fallback<T>(mut self, handler: impl Handler<T>) -> Self {
        self.fallback = Some(Box::new(move |request| handler.call(request)));
        self
    }

    /// Lets `finish` change every response, as to add headers. Called in the order in which they
    /// were added.
    #[must_use]
    pub fn map_response(mut self, finish: impl Fn(Response) -> Response + 'static) -> Self {
        self.finish.push(Box::new(finish));
        self
    }

    /// Answers one request. `#[app]` calls this; tests may, too.
    pub fn call(&self, request: Request) -> Response {
        let response = self.dispatch(request);
        self.finish
            .iter()
            .fold(response, |response, finish| finish(response))
    }

    fn dispatch(&self, mut request: Request) -> Response {
        let Ok(matched) = self.paths.at(request.uri().path()) else {
            return match &self.fallback {
                Some(handler) => handler(request),
                None => {
                    Problem::not_found(format!("There is nothing at {}.", request.uri().path()))
                        .into_response()
                }
            };
        };
        let (index, parameters) = (*matched.value, Parameters::new(&matched.params));
        match parameters {
            Ok(parameters) => {
                request.extensions_mut().insert(parameters);
                self.methods[index].1.call(request)
            }
            Err(problem) => problem.into_response(),
        }
    }
}

/// The handlers of one path, by method.
#[derive(Default)]
pub struct MethodRouter {
    handlers: Vec<(Method, BoxedHandler)>,
    any: Option<BoxedHandler>,
}

impl MethodRouter {
    fn on<T>(mut self, method: Method, handler: impl Handler<T>) -> Self {
        self.handlers
            .push((method, Box::new(move |request| handler.call(request))));
        self
    }

    fn call(&self, request: Request) -> Response {
        let find = |method: &Method| {
            self.handlers
                .iter()
                .find(|(candidate, _)| candidate == method)
                .map(|(_, handler)| handler)
        };
        let handler = find(request.method())
            .or_else(|| (request.method() == Method::HEAD).then(|| find(&Method::GET))?)
            .or(self.any.as_ref());
        match handler {
            Some(handler) => handler(request),
            None => self.not_allowed(request.method()),
        }
    }

    fn not_allowed(&self, method: &Method) -> Response {
        let allowed: Vec<&str> = self.handlers.iter().map(|(m, _)| m.as_str()).collect();
        let allowed = allowed.join(", ");
        let mut response = Problem::new(
            StatusCode::METHOD_NOT_ALLOWED,
            format!("{method} is not among {allowed}."),
        )
        .into_response();
        if let Ok(value) = HeaderValue::from_str(&allowed) {
            response.headers_mut().insert(ALLOW, value);
        }
        response
    }
}

macro_rules! methods {
    ($($name:ident $method:ident $text:literal;)*) => {
        impl MethodRouter {
            $(
                #[doc = concat!("Adds the handler of ", $text, " requests.")]
                #[must_use]
                pub fn $name<T>(self, handler: impl Handler<T>) -> Self {
                    self.on(Method::$method, handler)
                }
            )*
        }
        $(
            #[doc = concat!("A path that answers ", $text, " requests by `handler`.")]
            #[must_use]
            pub fn $name<T>(handler: impl Handler<T>) -> MethodRouter {
                MethodRouter::default().$name(handler)
            }
        )*
    };
}

methods! {
    get GET "GET (and HEAD)";
    post POST "POST";
    put PUT "PUT";
    patch PATCH "PATCH";
    delete DELETE "DELETE";
}

/// A path that answers requests of every method by `handler`.
#[must_use]
pub fn any<T>(handler: impl Handler<T>) -> MethodRouter {
    MethodRouter {
        handlers: Vec::new(),
        any: Some(Box::new(move |request| handler.call(request))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Body, Json, Path};

    fn call(app: &Router, method: Method, uri: &str) -> (StatusCode, String) {
        let request = http::Request::builder()
            .method(method)
            .uri(uri)
            .body(Body::empty())
            .unwrap();
        let response = app.call(request);
        let status = response.status();
        (status, response.into_body().read_to_string(1000).unwrap())
    }

    fn app() -> Router {
        Router::new()
            .route("/a/{x}", get(|Path(x): Path<String>| x).post(|| "posted"))
            .nest(
                "/api",
                Router::new()
                    .route("/", get(|| "root"))
                    .route("/{n}/b", get(|Path(n): Path<u8>| Json(n))),
            )
    }

    #[test]
    fn parameters_are_decoded_after_matching() {
        let (status, body) = call(&app(), Method::GET, "/a/b%2Fc%20d");
        assert_eq!((status, body.as_str()), (StatusCode::OK, "b/c d"));
    }

    #[test]
    fn parameters_that_are_no_text_are_refused() {
        assert_eq!(
            call(&app(), Method::GET, "/a/%ff").0,
            StatusCode::BAD_REQUEST
        );
    }

    #[test]
    fn nested_routes_keep_their_parameters() {
        assert_eq!(call(&app(), Method::GET, "/api").1, "root");
        assert_eq!(call(&app(), Method::GET, "/api/7/b").1, "7");
        assert_eq!(
            call(&app(), Method::GET, "/api/700/b").0,
            StatusCode::BAD_REQUEST
        );
    }

    #[test]
    fn head_is_answered_by_get_and_other_methods_are_named() {
        assert_eq!(call(&app(), Method::HEAD, "/a/b").0, StatusCode::OK);
        let (status, body) = call(&app(), Method::PUT, "/a/b");
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
        assert!(body.contains("PUT is not among GET, POST"), "{body}");
    }

    #[test]
    fn an_unknown_path_is_a_problem_unless_there_is_a_fallback() {
        assert_eq!(
            call(&app(), Method::GET, "/nowhere").0,
            StatusCode::NOT_FOUND
        );
        let app = app().fallback(|| "else");
        assert_eq!(call(&app, Method::GET, "/nowhere").1, "else");
    }

    #[test]
    #[should_panic(expected = "/a/{y}")]
    fn two_routes_of_one_meaning_are_refused() {
        let _ = app().route("/a/{y}", get(|| ""));
    }
}
