//! What the service writes as XML: listings, uploads and refusals.

use roxmltree::{Document, Node};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A page of a listing.
#[derive(Debug, PartialEq, Eq)]
pub struct Page {
    pub objects: Vec<Listed>,
    /// Whether more come after them.
    pub more: bool,
}

impl Page {
    /// The names of the objects.
    pub fn names(self) -> Vec<String> {
        self.objects.into_iter().map(|object| object.name).collect()
    }
}

/// An object of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub name: String,
    pub size: u64,
    /// As it stands in headers, with its quotes.
    pub etag: String,
    /// Milliseconds since 1970.
    pub modified: u64,
}

/// A part of an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    pub number: u32,
    pub size: u64,
    pub etag: String,
}

/// An upload in parts that is under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    pub name: String,
    pub id: String,
    pub begun: u64,
}

/// Reads a listing, or nothing if it is none.
pub fn page(text: &str) -> Option<Page> {
    let document = Document::parse(text).ok()?;
    let root = root(&document, "ListBucketResult")?;
    let listed = |node: Node<'_, '_>| {
        Some(Listed {
            name: decoded(&text_of(node, "Key")?)?,
            size: number(node, "Size").unwrap_or(0),
            etag: text_of(node, "ETag").unwrap_or_default(),
            modified: moment(node, "LastModified").unwrap_or(0),
        })
    };
    Some(Page {
        objects: all(root, "Contents", listed)?,
        more: is_truncated(root),
    })
}

/// The identifier of an upload that has begun.
pub fn begun(text: &str) -> Option<String> {
    let document = Document::parse(text).ok()?;
    text_of(
        root(&document, "InitiateMultipartUploadResult")?,
        "UploadId",
    )
}

/// The tag of the object that an upload has become.
pub fn completed(text: &str) -> Option<String> {
    let document = Document::parse(text).ok()?;
    text_of(root(&document, "CompleteMultipartUploadResult")?, "ETag")
}

/// The tag of an object that has been copied.
pub fn copied(text: &str) -> Option<String> {
    let document = Document::parse(text).ok()?;
    text_of(root(&document, "CopyObjectResult")?, "ETag")
}

/// Parts of an upload, and whether more come after them.
pub fn parts(text: &str) -> Option<(Vec<Part>, bool)> {
    let document = Document::parse(text).ok()?;
    let root = root(&document, "ListPartsResult")?;
    let part = |node: Node<'_, '_>| {
        Some(Part {
            number: u32::try_from(number(node, "PartNumber")?).ok()?,
            size: number(node, "Size")?,
            etag: text_of(node, "ETag")?,
        })
    };
    Some((all(root, "Part", part)?, is_truncated(root)))
}

/// Uploads that are under way.
pub fn uploads(text: &str) -> Option<Vec<Upload>> {
    let document = Document::parse(text).ok()?;
    let root = root(&document, "ListMultipartUploadsResult")?;
    all(root, "Upload", |node| {
        Some(Upload {
            name: text_of(node, "Key")?,
            id: text_of(node, "UploadId")?,
            begun: moment(node, "Initiated").unwrap_or(0),
        })
    })
}

/// The first refusal in what `text` says: its code and its words.
pub fn refusal(text: &str) -> Option<(String, String)> {
    let document = Document::parse(text).ok()?;
    let error = document
        .descendants()
        .find(|node| node.tag_name().name() == "Error")?;
    let part = |name| text_of(error, name).unwrap_or_default();
    Some((part("Code"), part("Message")))
}

fn root<'a, 'i>(document: &'a Document<'i>, name: &str) -> Option<Node<'a, 'i>> {
    let root = document.root_element();
    (root.tag_name().name() == name).then_some(root)
}

fn all<T>(
    root: Node<'_, '_>,
    name: &str,
    read: impl Fn(Node<'_, '_>) -> Option<T>,
) -> Option<Vec<T>> {
    let nodes = root
        .children()
        .filter(|node| node.tag_name().name() == name);
    nodes.map(read).collect()
}

fn text_of(node: Node<'_, '_>, name: &str) -> Option<String> {
    let child = node
        .children()
        .find(|node| node.tag_name().name() == name)?;
    Some(child.text()?.to_owned())
}

fn number(node: Node<'_, '_>, name: &str) -> Option<u64> {
    text_of(node, name)?.parse().ok()
}

fn moment(node: Node<'_, '_>, name: &str) -> Option<u64> {
    let moment = OffsetDateTime::parse(&text_of(node, name)?, &Rfc3339).ok()?;
    u64::try_from(moment.unix_timestamp_nanos() / 1_000_000).ok()
}

fn is_truncated(root: Node<'_, '_>) -> bool {
    text_of(root, "IsTruncated").as_deref() == Some("true")
}

/// A name as it was before it was written as a part of an address, in which it is asked for so that
/// any name can stand in XML.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((plain, after)) = rest.split_once('%') {
        bytes.extend(plain.bytes().map(space));
        let (digits, after) = after.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = after;
    }
    bytes.extend(rest.bytes().map(space));
    String::from_utf8(bytes).ok()
}

fn space(byte: u8) -> u8 {
    if byte == b'+' { b' ' } else { byte }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_names_as_they_are_and_says_whether_more_come() {
        let text = "<?xml version=\"1.0\"?><ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
            <IsTruncated>true</IsTruncated><Contents><Key>c/a%3D2Fb</Key><Size>1</Size>\
            <LastModified>1970-01-01T00:00:01.500Z</LastModified></Contents>\
            <Contents><ETag>x</ETag><Key>c/d+e%2Bf</Key></Contents><KeyCount>2</KeyCount></ListBucketResult>";
        let page = page(text).unwrap();
        assert_eq!((page.objects[0].size, page.objects[0].modified), (1, 1500));
        assert_eq!(page.objects[1].etag, "x");
        assert!(page.more);
        assert_eq!(page.names(), ["c/a=2Fb", "c/d e+f"]);
    }

    #[test]
    fn what_is_no_listing_is_none() {
        for text in [
            "",
            "<html></html>",
            "<ListBucketResult><Contents/></ListBucketResult>",
            "<ListBucketResult><Contents><Key>%2</Key></Contents></ListBucketResult>",
            "<!DOCTYPE x [<!ENTITY a \"b\">]><ListBucketResult>&a;</ListBucketResult>",
        ] {
            assert_eq!(page(text), None, "{text}");
        }
    }

    #[test]
    fn uploads_and_their_parts_are_read() {
        let text = "<ListPartsResult><IsTruncated>false</IsTruncated><Part><PartNumber>2</PartNumber>\
            <ETag>\"e\"</ETag><Size>7</Size></Part></ListPartsResult>";
        let part = Part {
            number: 2,
            size: 7,
            etag: "\"e\"".to_owned(),
        };
        assert_eq!(parts(text), Some((vec![part], false)));
        let text = "<ListMultipartUploadsResult><Upload><Key>k</Key><UploadId>u</UploadId>\
            <Initiated>1970-01-01T00:00:00Z</Initiated></Upload></ListMultipartUploadsResult>";
        let upload = Upload {
            name: "k".to_owned(),
            id: "u".to_owned(),
            begun: 0,
        };
        assert_eq!(uploads(text), Some(vec![upload]));
        assert_eq!(parts(text), None);
        assert_eq!(completed("<Error><Code>InternalError</Code></Error>"), None);
        let text =
            "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>";
        assert_eq!(begun(text).as_deref(), Some("u"));
    }

    #[test]
    fn a_refusal_has_a_code_and_words() {
        let text = "<Error><Code>NoSuchBucket</Code><Message>It is not there</Message></Error>";
        let expected = ("NoSuchBucket".to_owned(), "It is not there".to_owned());
        assert_eq!(refusal(text), Some(expected.clone()));
        let within = format!("<DeleteResult>{text}</DeleteResult>");
        assert_eq!(refusal(&within), Some(expected));
        assert_eq!(refusal("<DeleteResult/>"), None);
        assert_eq!(refusal("Bad Gateway"), None);
    }
}
