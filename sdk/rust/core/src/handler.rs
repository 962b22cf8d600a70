//! Functions as handlers: their parameters are taken from the request, their result becomes the
//! response.

use crate::{FromRequest, IntoResponse, Request, Response};

/// What answers a request.
///
/// Implemented by every function and closure of up to eight parameters that are [`FromRequest`]
/// and whose result is [`IntoResponse`]. The parameters are extracted from left to right; the
/// first that cannot be had answers in the function's place. `T` only tells the implementations
/// apart.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a handler",
    note = "each parameter must implement `FromRequest` and the result `IntoResponse`"
)]
pub trait Handler<T>: 'static {
    /// Answers `request`.
    fn call(&self, request: Request) -> Response;
}

macro_rules! handler {
    ($($parameter:ident),*) => {
        impl<F, R, $($parameter),*> Handler<($($parameter,)*)> for F
        where
            F: Fn($($parameter),*) -> R + 'static,
            R: IntoResponse,
            $($parameter: FromRequest,)*
        {
            #[allow(non_snake_case, unused_mut, unused_variables, reason = "one body for all counts")]
            fn call(&self, mut request: Request) -> Response {
                $(
                    let $parameter = match $parameter::from_request(&mut request) {
                        Ok(value) => value,
                        Err(rejection) => return rejection.into_response(),
                    };
                )*
                self($($parameter),*).into_response()
            }
        }
    };
}

handler!();
handler!(A);
handler!(A, B);
handler!(A, B, C);
handler!(A, B, C, D);
handler!(A, B, C, D, E);
handler!(A, B, C, D, E, G);
handler!(A, B, C, D, E, G, H);
handler!(A, B, C, D, E, G, H, I);
