//! Header fields that a guest makes or receives, and what it calls its requests, counted: for each of
//! them the host keeps memory of its own, in any number of requests and responses.
//!
//! The bytes of a field's value own their part of the account. So a field counts wherever it goes, in a
//! request or as a trailer, and until the last copy of it is gone.

use bytes::Bytes;
use canopy_backend::{Held, Kept, KeptFull};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::TrappableError;
use wasmtime_wasi_http::p2::bindings::http::types as p2;
use wasmtime_wasi_http::p3::bindings::http::types as p3;
use wasmtime_wasi_http::{FieldMap, FieldMapError, WasiHttpCtxView, WasiHttpHooks, WasiHttpView};

use crate::ctx::NetworkView;

/// What a field takes beside its name and value, on the safe side: its places in the map, which grows
/// by doubling, and the allocations of its name, its value and what counts it.
const FIELD_BYTES: usize = 384;

/// A value, as long as it is somewhere.
struct Counted {
    bytes: Vec<u8>,
    _held: Held,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A value that is in one more map.
struct Again {
    value: HeaderValue,
    _held: Held,
}

impl AsRef<[u8]> for Again {
    fn as_ref(&self) -> &[u8] {
        self.value.as_bytes()
    }
}

/// Why a field was not taken.
enum Refused {
    Field(FieldMapError),
    Full(KeptFull),
}

impl From<FieldMapError> for Refused {
    fn from(error: FieldMapError) -> Self {
        Self::Field(error)
    }
}

impl From<KeptFull> for Refused {
    fn from(full: KeptFull) -> Self {
        Self::Full(full)
    }
}

fn counted(name: &HeaderName, bytes: Vec<u8>, kept: &Kept) -> Result<HeaderValue, Refused> {
    let held = kept.keep(name.as_str().len() + bytes.len() + FIELD_BYTES)?;
    let value = Bytes::from_owner(Counted { bytes, _held: held });
    HeaderValue::from_maybe_shared(value).map_err(|_| FieldMapError::InvalidHeaderValue.into())
}

/// Has the fields of a response that has come in count.
pub(crate) fn count(fields: &mut HeaderMap, kept: &Kept) -> Result<(), KeptFull> {
    for (name, value) in fields.iter_mut() {
        match counted(name, value.as_bytes().to_vec(), kept) {
            Ok(counted) => *value = counted,
            Err(Refused::Full(full)) => return Err(full),
            // It was one before.
            Err(Refused::Field(_)) => {}
        }
    }
    Ok(())
}

fn name_of(name: &str) -> Result<HeaderName, Refused> {
    let name = HeaderName::from_bytes(name.as_bytes());
    name.map_err(|_| FieldMapError::InvalidHeaderName.into())
}

/// Adds a field. wasmtime's own way is that of a length, of which there is one, and it must be a number.
fn append(
    map: &mut FieldMap,
    hooks: &mut dyn WasiHttpHooks,
    (name, value): (String, Vec<u8>),
    kept: &Kept,
) -> Result<(), Refused> {
    let key = name_of(&name)?;
    if key == header::CONTENT_LENGTH {
        map.append(hooks, name, value)?;
        return Ok(());
    }
    if hooks.is_forbidden_header(&key) {
        return Err(FieldMapError::Forbidden.into());
    }
    let value = counted(&key, value, kept)?;
    map.append_raw(key, value)?;
    Ok(())
}

/// Replaces a field by others of its name, all or none.
fn set(
    map: &mut FieldMap,
    hooks: &mut dyn WasiHttpHooks,
    name: String,
    values: Vec<Vec<u8>>,
    kept: &Kept,
) -> Result<(), Refused> {
    let key = name_of(&name)?;
    if key == header::CONTENT_LENGTH || values.is_empty() {
        map.set(hooks, name, values)?;
        return Ok(());
    }
    if hooks.is_forbidden_header(&key) {
        return Err(FieldMapError::Forbidden.into());
    }
    let values = values.into_iter();
    let values = values.map(|value| counted(&key, value, kept));
    let values = values.collect::<Result<Vec<_>, _>>()?;
    // What there was is needed again where the others are too large.
    let before = map.contains_key(&key).then(|| map.clone());
    if before.is_some() {
        map.remove_all(hooks, name.clone())?;
    }
    for value in values {
        if let Err(error) = map.append_raw(key.clone(), value) {
            match before {
                Some(before) => *map = before,
                None => drop(map.remove_all(hooks, name)?),
            }
            return Err(error.into());
        }
    }
    Ok(())
}

fn from_list(
    hooks: &mut dyn WasiHttpHooks,
    fields: Vec<(String, Vec<u8>)>,
    limit: usize,
    kept: &Kept,
) -> Result<FieldMap, Refused> {
    let mut map = FieldMap::new_mutable(limit);
    for field in fields {
        append(&mut map, hooks, field, kept)?;
    }
    Ok(map)
}

/// A copy that can be changed. What came from outside may be larger than a guest may make it.
fn copy(map: &FieldMap, limit: usize, kept: &Kept) -> wasmtime::Result<FieldMap> {
    let mut copy = FieldMap::new_mutable(usize::MAX);
    for (name, value) in map.iter() {
        let held = kept.keep(name.as_str().len() + FIELD_BYTES)?;
        let value = value.clone();
        let value = Bytes::from_owner(Again { value, _held: held });
        copy.append_raw(name.clone(), HeaderValue::from_maybe_shared(value)?)?;
    }
    copy.set_mutable(limit);
    Ok(copy)
}

type Fields = Resource<FieldMap>;
type P2<T> = (Result<T, p2::HeaderError>,);
type P3<T> = (Result<T, p3::HeaderError>,);

/// WASI 0.2 has no error for what is too large.
fn told_p2<T>(
    http: &mut WasiHttpCtxView<'_>,
    outcome: Result<T, Refused>,
) -> wasmtime::Result<P2<T>> {
    use p2::Host as _;

    match outcome {
        Ok(value) => Ok((Ok(value),)),
        Err(Refused::Full(full)) => Err(full.into()),
        Err(Refused::Field(error)) => Ok((Err(http.convert_header_error(error.into())?),)),
    }
}

fn told_p3<T>(outcome: Result<T, Refused>) -> wasmtime::Result<P3<T>> {
    match outcome {
        Ok(value) => Ok((Ok(value),)),
        Err(Refused::Full(_)) => Ok((Err(p3::HeaderError::SizeExceeded),)),
        Err(Refused::Field(error)) => {
            let error = TrappableError::<p3::HeaderError>::from(error);
            Ok((Err(error.downcast()?),))
        }
    }
}

/// The functions that both versions have alike, but for what a guest is told.
macro_rules! fields {
    ($linker:ident, $view:ident, $interface:literal, $told:expr) => {{
        let mut types = $linker.instance($interface)?;
        types.func_wrap(
            "[static]fields.from-list",
            move |mut store: StoreContextMut<'_, T>, (fields,): (Vec<(String, Vec<u8>)>,)| {
                let (kept, limit) = $view(store.data_mut()).ctx.field_limits();
                let mut http = store.data_mut().http();
                let made = match from_list(http.hooks, fields, limit, &kept) {
                    Ok(map) => Ok(http.table.push(map)?),
                    Err(refused) => Err(refused),
                };
                $told(&mut http, made)
            },
        )?;
        types.func_wrap(
            "[method]fields.append",
            move |mut store: StoreContextMut<'_, T>,
                  (fields, name, value): (Fields, String, Vec<u8>)| {
                let (kept, _) = $view(store.data_mut()).ctx.field_limits();
                let mut http = store.data_mut().http();
                let map = http.table.get_mut(&fields)?;
                let appended = append(map, http.hooks, (name, value), &kept);
                $told(&mut http, appended)
            },
        )?;
        types.func_wrap(
            "[method]fields.set",
            move |mut store: StoreContextMut<'_, T>,
                  (fields, name, values): (Fields, String, Vec<Vec<u8>>)| {
                let (kept, _) = $view(store.data_mut()).ctx.field_limits();
                let mut http = store.data_mut().http();
                let map = http.table.get_mut(&fields)?;
                let done = set(map, http.hooks, name, values, &kept);
                $told(&mut http, done)
            },
        )?;
        types.func_wrap(
            "[method]fields.clone",
            move |mut store: StoreContextMut<'_, T>, (fields,): (Fields,)| {
                let (kept, limit) = $view(store.data_mut()).ctx.field_limits();
                let http = store.data_mut().http();
                let copy = copy(http.table.get(&fields)?, limit, &kept)?;
                wasmtime::error::Ok((http.table.push(copy)?,))
            },
        )?;
    }};
}

/// What a request is called, where that is a text of the guest's.
macro_rules! names {
    ($linker:ident, $view:ident, $interface:literal, $prefix:literal, $types:ident, $request:ident) => {{
        let mut types = $linker.instance($interface)?;
        types.func_wrap(
            concat!($prefix, "set-method"),
            move |mut store: StoreContextMut<'_, T>,
                  (request, method): (Resource<$types::$request>, $types::Method)| {
                if let $types::Method::Other(method) = &method {
                    $view(store.data_mut()).ctx.keep_for_call(method.len())?;
                }
                let mut http = store.data_mut().http();
                wasmtime::error::Ok((http.set_method(request, method)?,))
            },
        )?;
        types.func_wrap(
            concat!($prefix, "set-path-with-query"),
            move |mut store: StoreContextMut<'_, T>,
                  (request, path): (Resource<$types::$request>, Option<String>)| {
                let bytes = path.as_ref().map_or(0, String::len);
                $view(store.data_mut()).ctx.keep_for_call(bytes)?;
                let mut http = store.data_mut().http();
                wasmtime::error::Ok((http.set_path_with_query(request, path)?,))
            },
        )?;
        types.func_wrap(
            concat!($prefix, "set-authority"),
            move |mut store: StoreContextMut<'_, T>,
                  (request, authority): (Resource<$types::$request>, Option<String>)| {
                let bytes = authority.as_ref().map_or(0, String::len);
                $view(store.data_mut()).ctx.keep_for_call(bytes)?;
                let mut http = store.data_mut().http();
                wasmtime::error::Ok((http.set_authority(request, authority)?,))
            },
        )?;
    }};
}

/// Replaces the functions of 0.2 in `linker` by which a guest makes fields and names requests.
pub(crate) fn count_p2<T: WasiHttpView + 'static>(
    linker: &mut Linker<T>,
    view: fn(&mut T) -> NetworkView<'_>,
) -> wasmtime::Result<()> {
    use p2::HostOutgoingRequest as _;

    fields!(linker, view, "wasi:http/types@0.2.12", told_p2);
    names!(
        linker,
        view,
        "wasi:http/types@0.2.12",
        "[method]outgoing-request.",
        p2,
        OutgoingRequest
    );
    Ok(())
}

/// The same of 0.3.
pub(crate) fn count_p3<T: WasiHttpView + 'static>(
    linker: &mut Linker<T>,
    view: fn(&mut T) -> NetworkView<'_>,
) -> wasmtime::Result<()> {
    use p3::HostRequest as _;

    fields!(
        linker,
        view,
        "wasi:http/types@0.3.0",
        |_: &mut WasiHttpCtxView<'_>, outcome| told_p3(outcome)
    );
    names!(
        linker,
        view,
        "wasi:http/types@0.3.0",
        "[method]request.",
        p3,
        Request
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use http::{Request, Response};
    use wasmtime_wasi_http::{Error, RequestOptions, WasiBody};

    use super::*;
    use crate::http_client::Io;

    struct Hooks;

    impl WasiHttpHooks for Hooks {
        fn send_request(
            &mut self,
            _: Request<WasiBody>,
            _: Option<RequestOptions>,
            _: Io,
        ) -> Box<dyn Future<Output = Result<(Response<WasiBody>, Io), Error>> + Send> {
            Box::new(async { Err(Error::HttpRequestDenied) })
        }
    }

    fn field(name: &str, bytes: usize) -> (String, Vec<u8>) {
        (name.to_owned(), vec![b'x'; bytes])
    }

    #[test]
    fn a_field_counts_until_its_last_copy_is_gone() {
        let kept = Kept::new(1 << 20);
        let map = from_list(&mut Hooks, vec![field("x-one", 1000)], 8 << 10, &kept);
        let Ok(map) = map else { panic!("it fits") };
        let one = kept.bytes();
        assert!((1000..2000).contains(&one), "{one}");
        let copied = copy(&map, 8 << 10, &kept).expect("it fits");
        let both = kept.bytes();
        assert!(both > one && both < 2 * one, "{both}");
        drop(map);
        assert_eq!(kept.bytes(), both, "the copy has the value still");
        let sent: HeaderMap = copied.into();
        assert_eq!(sent["x-one"].len(), 1000);
        drop(sent);
        assert_eq!(kept.bytes(), 0);
    }

    #[test]
    fn fields_have_so_much_together() {
        let kept = Kept::new(64 << 10);
        let make = || from_list(&mut Hooks, vec![field("x-one", 7 << 10)], 8 << 10, &kept);
        let made: Vec<_> = (0..9).map(|_| make()).collect();
        let full = |made: &&Result<_, Refused>| matches!(made, Err(Refused::Full(_)));
        assert_eq!(made.iter().filter(full).count(), 1);
        drop(made);
        assert!(make().is_ok());
    }

    #[test]
    fn small_fields_count_for_what_the_host_keeps_of_them() {
        let kept = Kept::new(64 << 10);
        let many = (0..400).map(|number| field(&format!("x{number}"), 0));
        let made = from_list(&mut Hooks, many.collect(), 32 << 10, &kept);
        assert!(matches!(made, Err(Refused::Full(_))));
    }

    #[test]
    fn what_replaces_fields_does_so_as_a_whole() {
        let kept = Kept::new(1 << 20);
        let map = from_list(&mut Hooks, vec![field("x-one", 10)], 1 << 10, &kept);
        let Ok(mut map) = map else { panic!("it fits") };
        let hooks = &mut Hooks;
        let values = vec![vec![b'y'; 100], vec![b'y'; 2000]];
        let refused = set(&mut map, hooks, "x-one".to_owned(), values, &kept);
        assert!(matches!(
            refused,
            Err(Refused::Field(FieldMapError::TotalSizeTooBig))
        ));
        assert_eq!(map["x-one"], "xxxxxxxxxx");
        let values = vec![vec![b'y'; 2], vec![b'z'; 2]];
        assert!(set(&mut map, hooks, "X-One".to_owned(), values, &kept).is_ok());
        let values: Vec<_> = map.get_all("x-one").iter().collect();
        assert_eq!(values, ["yy", "zz"]);
        assert!(set(&mut map, hooks, "x-one".to_owned(), Vec::new(), &kept).is_ok());
        assert_eq!(map.len(), 0);
        assert_eq!(kept.bytes(), 0);
    }

    #[test]
    fn what_is_no_field_is_none() {
        let kept = Kept::new(1 << 20);
        let mut map = FieldMap::new_mutable(8 << 10);
        for (name, value, error) in [
            ("x y", "", FieldMapError::InvalidHeaderName),
            ("x", "\n", FieldMapError::InvalidHeaderValue),
            ("host", "a", FieldMapError::Forbidden),
            ("content-length", "+1", FieldMapError::InvalidHeaderValue),
        ] {
            let field = (name.to_owned(), value.into());
            match append(&mut map, &mut Hooks, field, &kept) {
                Err(Refused::Field(found)) => assert_eq!(found, error, "{name}"),
                _ => panic!("{name} was taken"),
            }
        }
        let length = field("content-length", 0);
        let length = (length.0, b"5".to_vec());
        assert!(append(&mut map, &mut Hooks, length, &kept).is_ok());
        assert_eq!(kept.bytes(), 0);
    }
}
