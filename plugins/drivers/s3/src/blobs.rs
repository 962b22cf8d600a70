//! `canopy:storage/blobs`: each object is one of the service, and a container is what their names
//! begin with.

mod containers;
mod listing;
mod parts;
mod store;
mod transfer;

use canopy_sdk::stream::{FutureReader, StreamReader};

use crate::S3;
use crate::bindings::exports::canopy::storage::blobs::{
    Condition, ContainerInfo, ContainerPage, Error, Guest, ListOptions, Method, ObjectId,
    ObjectInfo, ObjectPage, PartInfo, PartPage, PresignOptions, PutOptions, Range, Reading,
    UploadInfo,
};
use store::{Store, invalid, log_and_tell};

/// How long a signed address works at most, by S3.
const MAX_EXPIRY: u32 = 7 * 24 * 3600;

impl Guest for S3 {
    async fn create_container(name: String) -> Result<bool, Error> {
        Store::open()?.create_container(&name)
    }

    async fn delete_container(name: String, force: bool) -> Result<(), Error> {
        Store::open()?.delete_container(&name, force)
    }

    async fn container(name: String) -> Result<ContainerInfo, Error> {
        Store::open()?.container(&name)
    }

    async fn list_containers(
        prefix: String,
        cursor: Option<String>,
        limit: u32,
    ) -> Result<ContainerPage, Error> {
        Store::open()?.list_containers(&prefix, cursor.as_deref(), limit)
    }

    async fn put(
        container: String,
        name: String,
        body: StreamReader<u8>,
        options: PutOptions,
    ) -> Result<ObjectInfo, Error> {
        Store::open()?.put(&container, &name, body, options).await
    }

    async fn get(container: String, name: String, range: Option<Range>) -> Result<Reading, Error> {
        Store::open()?.get(&container, &name, range)
    }

    async fn head(container: String, name: String) -> Result<ObjectInfo, Error> {
        let store = Store::open()?;
        let head = store.head(&container, &name)?;
        Ok(store::info(&name, head))
    }

    async fn delete(
        container: String,
        name: String,
        condition: Option<Condition>,
    ) -> Result<bool, Error> {
        Store::open()?.delete(&container, &name, condition.as_ref())
    }

    async fn delete_many(container: String, names: Vec<String>) -> Result<u64, Error> {
        Store::open()?.delete_many(&container, &names)
    }

    async fn list(container: String, options: ListOptions) -> Result<ObjectPage, Error> {
        Store::open()?.list(&container, &options)
    }

    async fn copy(
        source: ObjectId,
        target: ObjectId,
        condition: Option<Condition>,
    ) -> Result<ObjectInfo, Error> {
        Store::open()?.copy(&source, &target, condition)
    }

    /// A copy, and then the source is removed: who looks in between sees both.
    async fn move_(
        source: ObjectId,
        target: ObjectId,
        condition: Option<Condition>,
    ) -> Result<ObjectInfo, Error> {
        let store = Store::open()?;
        let info = store.copy(&source, &target, condition)?;
        if (&source.container, &source.name) != (&target.container, &target.name) {
            store.delete(&source.container, &source.name, None)?;
        }
        Ok(info)
    }

    async fn begin_upload(
        container: String,
        name: String,
        options: PutOptions,
    ) -> Result<UploadInfo, Error> {
        Store::open()?.begin_upload(container, name, options)
    }

    async fn put_part(
        upload: String,
        number: u32,
        body: StreamReader<u8>,
    ) -> Result<PartInfo, Error> {
        Store::open()?.put_part(&upload, number, body).await
    }

    async fn list_parts(
        upload: String,
        cursor: Option<u32>,
        limit: u32,
    ) -> Result<PartPage, Error> {
        Store::open()?.list_parts(&upload, cursor, limit)
    }

    async fn complete_upload(
        upload: String,
        parts: Vec<(u32, String)>,
    ) -> Result<ObjectInfo, Error> {
        Store::open()?.complete_upload(&upload, &parts)
    }

    async fn abort_upload(upload: String) -> Result<(), Error> {
        Store::open()?.abort_upload(&upload)
    }

    async fn list_uploads(container: String) -> Result<Vec<UploadInfo>, Error> {
        Store::open()?.list_uploads(&container)
    }

    /// An address at the service itself, where the settings say how clients reach it.
    async fn presign(
        container: String,
        name: String,
        options: PresignOptions,
    ) -> Result<String, Error> {
        let store = Store::open()?;
        let place = store.object(&container, &name)?;
        if !(1..=MAX_EXPIRY).contains(&options.expires_in) {
            return Err(invalid(format!(
                "an address works for 1 to {MAX_EXPIRY} seconds, not {}",
                options.expires_in
            )));
        }
        let Some(public) = &store.settings.public else {
            return Err(Error::Other(
                "this storage gives no addresses: the setting `public_endpoint` of its driver does not \
                 say where clients reach the S3 service"
                    .to_owned(),
            ));
        };
        let (mut query, mut headers) = (Vec::new(), Vec::new());
        let disposition = options.file_name.as_deref().map(attachment);
        let method = match options.method {
            Method::Get => {
                let kind = options.content_type.as_deref();
                query.extend(kind.map(|kind| ("response-content-type", kind)));
                let disposition = disposition.as_deref();
                query.extend(disposition.map(|text| ("response-content-disposition", text)));
                "GET"
            }
            Method::Put if options.max_size.is_some() => {
                return Err(Error::Other(
                    "this storage gives no addresses for uploading with a limit, for S3 has none"
                        .to_owned(),
                ));
            }
            Method::Put => {
                headers.extend(options.content_type.map(|kind| ("content-type", kind)));
                "PUT"
            }
        };
        let service = store.service();
        service
            .presign(public, method, &place, &query, &headers, options.expires_in)
            .map_err(log_and_tell)
    }
}

/// What makes a browser save a download under that name (RFC 6266).
fn attachment(file: &str) -> String {
    let mut text = "attachment; filename*=UTF-8''".to_owned();
    for byte in file.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_') {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

/// The end of a stream that is read elsewhere, told by what writes it.
type Outcome = FutureReader<Result<(), Error>>;
