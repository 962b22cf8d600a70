//! SQL by `fermyon:spin/sqlite@2.0.0`, made from its published WIT by `wit-bindgen` and `wstd`.

use bindings::fermyon::spin::sqlite::{Connection, Error as SqlError, Value};
use faces::{Asked, Outcome, sql};
use wstd::http::{Body, Error, Request, Response};

mod bindings {
    wit_bindgen::generate!({
        inline: "package guests:spin2; world spin2 { import fermyon:spin/sqlite@2.0.0; }",
        path: "../../../../wit/deps/fermyon-spin-2.0.0",
        generate_all,
    });
}

faces::cells!(Value);

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, Error> {
    let asked = Asked::read(&request.uri().to_string());
    let (status, text) = faces::answer(run(&asked));
    Ok(Response::builder().status(status).body(text.into())?)
}

fn run(asked: &Asked) -> Outcome<SqlError> {
    (asked.op == "sql").then(|| {
        let connection = Connection::open(&asked.store)?;
        let result = connection.execute(&asked.key, &sql::parameters(asked))?;
        Ok(sql::rows(result.rows.into_iter().map(|row| row.values)))
    })
}
