//! What the service writes as XML: listings and refusals.

use roxmltree::Document;

/// A page of a listing.
#[derive(Debug, PartialEq, Eq)]
pub struct Page {
    /// Names of objects.
    pub names: Vec<String>,
    /// Whether more come after them.
    pub more: bool,
}

/// Reads a listing, or nothing if it is none.
pub fn page(text: &str) -> Option<Page> {
    let document = Document::parse(text).ok()?;
    let root = document.root_element();
    if root.tag_name().name() != "ListBucketResult" {
        return None;
    }
    let mut page = Page {
        names: Vec::new(),
        more: false,
    };
    for node in root.children() {
        match node.tag_name().name() {
            "IsTruncated" => page.more = node.text() == Some("true"),
            "Contents" => {
                let key = node
                    .children()
                    .find(|node| node.tag_name().name() == "Key")?;
                page.names.push(decoded(key.text()?)?);
            }
            _ => {}
        }
    }
    Some(page)
}

/// The first refusal in what `text` says: its code and its words.
pub fn refusal(text: &str) -> Option<(String, String)> {
    let document = Document::parse(text).ok()?;
    let error = document
        .descendants()
        .find(|node| node.tag_name().name() == "Error")?;
    let part = |name: &str| {
        let node = error.children().find(|node| node.tag_name().name() == name);
        node.and_then(|node| node.text())
            .unwrap_or_default()
            .to_owned()
    };
    Some((part("Code"), part("Message")))
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
            <IsTruncated>true</IsTruncated><Contents><Key>c/a%3D2Fb</Key><Size>1</Size></Contents>\
            <Contents><ETag>x</ETag><Key>c/d+e%2Bf</Key></Contents><KeyCount>2</KeyCount></ListBucketResult>";
        let expected = Page {
            names: vec!["c/a=2Fb".to_owned(), "c/d e+f".to_owned()],
            more: true,
        };
        assert_eq!(page(text), Some(expected));
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
