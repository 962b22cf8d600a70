//! Reads `multipart/form-data` part by part, as a browser's form sends files, without holding any
//! of them as a whole.

use std::cell::RefCell;
use std::io::{self, Read};
use std::rc::Rc;

/// How much is read at once.
const CHUNK: usize = 64 << 10;
/// Bytes of the longest head of a part.
const MAX_HEAD: usize = 8 << 10;

/// A form that is being read.
pub struct Multipart(Rc<RefCell<Reading>>);

/// The head of a part.
#[derive(Debug, PartialEq, Eq)]
pub struct Part {
    /// The field of the form.
    pub name: String,
    /// The name of the file that was chosen; empty if none was.
    pub file: Option<String>,
    pub content_type: Option<String>,
}

struct Reading {
    source: Box<dyn Read>,
    buffer: Vec<u8>,
    start: usize,
    /// What stands before a part, and so after the one before it.
    boundary: Vec<u8>,
    at_boundary: bool,
}

impl Multipart {
    /// The form in `source`, by the header `content-type`; `None` if that is of something else.
    pub fn of(content_type: &str, source: impl Read + 'static) -> Option<Self> {
        let (kind, parameters) = content_type.split_once(';')?;
        if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
            return None;
        }
        let boundary = parameter(parameters, "boundary")?;
        if boundary.is_empty() || boundary.len() > 70 {
            return None;
        }
        Some(Self(Rc::new(RefCell::new(Reading {
            source: Box::new(source),
            // As if something had gone before the first part.
            buffer: b"\r\n".to_vec(),
            start: 0,
            boundary: format!("\r\n--{boundary}").into_bytes(),
            at_boundary: false,
        }))))
    }

    /// The next part; what was not read of the one before is passed over.
    pub fn next(&mut self) -> io::Result<Option<Part>> {
        self.0.borrow_mut().next()
    }

    /// The content of the part that [`Self::next`] has told of.
    pub fn content(&self) -> impl Read + 'static {
        Content(Rc::clone(&self.0))
    }
}

struct Content(Rc<RefCell<Reading>>);

impl Read for Content {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.0.borrow_mut().read(out)
    }
}

impl Reading {
    fn rest(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    fn fill(&mut self) -> io::Result<()> {
        self.buffer.drain(..self.start);
        self.start = 0;
        let end = self.buffer.len();
        self.buffer.resize(end + CHUNK, 0);
        let read = self.source.read(&mut self.buffer[end..]);
        self.buffer.truncate(end + *read.as_ref().unwrap_or(&0));
        match read? {
            0 => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the form ends in the middle",
            )),
            _ => Ok(()),
        }
    }

    /// What of the part is there, up to the next boundary.
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        while !self.at_boundary {
            let rest = self.rest();
            let ready = match find(rest, &self.boundary) {
                Some(0) => {
                    self.at_boundary = true;
                    break;
                }
                Some(at) => at,
                // The last bytes may be the beginning of a boundary.
                None => rest.len().saturating_sub(self.boundary.len() - 1),
            };
            if ready > 0 {
                let count = ready.min(out.len());
                out[..count].copy_from_slice(&rest[..count]);
                self.start += count;
                return Ok(count);
            }
            self.fill()?;
        }
        Ok(0)
    }

    fn next(&mut self) -> io::Result<Option<Part>> {
        let mut passed = vec![0; CHUNK];
        while self.read(&mut passed)? > 0 {}
        self.start += self.boundary.len();
        while self.rest().len() < 2 {
            self.fill()?;
        }
        if self.rest().starts_with(b"--") {
            return Ok(None);
        }
        let end = loop {
            if let Some(end) = find(self.rest(), b"\r\n\r\n") {
                break end;
            }
            if self.rest().len() > MAX_HEAD {
                return Err(malformed("the head of a part is too long"));
            }
            self.fill()?;
        };
        let head = String::from_utf8_lossy(&self.rest()[..end]).into_owned();
        // The line end before the content may be that of the boundary after it.
        self.start += end + 4;
        self.at_boundary = false;
        let part = part(&head).ok_or_else(|| malformed("a part has no name"))?;
        Ok(Some(part))
    }
}

fn malformed(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

fn part(head: &str) -> Option<Part> {
    let header = |wanted: &str| {
        head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.trim()
                .eq_ignore_ascii_case(wanted)
                .then(|| value.trim())
        })
    };
    let (_, parameters) = header("content-disposition")?.split_once(';')?;
    Some(Part {
        name: parameter(parameters, "name")?,
        file: parameter(parameters, "filename"),
        content_type: header("content-type").map(str::to_owned),
    })
}

/// The value of a parameter, which browsers write in quotes and with `%22` for a quote.
fn parameter(parameters: &str, wanted: &str) -> Option<String> {
    let mut rest = parameters;
    loop {
        let (name, after) = rest.split_once('=')?;
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => after.split_at(after.find(';').unwrap_or(after.len())),
        };
        let name = name.trim_start_matches([';', ' ']).trim();
        if name.eq_ignore_ascii_case(wanted) {
            return Some(value.trim().replace("%22", "\""));
        }
        rest = after;
    }
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len())
        .position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives a few bytes at a time, so that every boundary is cut somewhere.
    struct Slow(io::Cursor<Vec<u8>>, usize);

    impl Read for Slow {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let count = out.len().min(self.1);
            self.0.read(&mut out[..count])
        }
    }

    const FORM: &str = "multipart/form-data; boundary=xyz";

    fn read(body: &str, step: usize) -> io::Result<Vec<(Part, String)>> {
        let source = Slow(io::Cursor::new(body.as_bytes().to_vec()), step);
        let mut form = Multipart::of(FORM, source).expect("a form");
        let mut parts = Vec::new();
        while let Some(part) = form.next()? {
            let mut content = String::new();
            form.content().read_to_string(&mut content)?;
            parts.push((part, content));
        }
        Ok(parts)
    }

    const TWO: &str = "--xyz\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\nhello\r\n--xyz\r\n\
         content-disposition: form-data; name=\"file\"; filename=\"a %22b%22;.txt\"\r\n\
         Content-Type: text/plain\r\n\r\none\r\n--xy\r\n-two\r\n\r\n--xyz--\r\n";

    #[test]
    fn parts_are_read_wherever_the_bytes_are_cut() {
        for step in [1, 2, 3, 7, 64, 4096] {
            let parts = read(TWO, step).unwrap();
            assert_eq!(parts.len(), 2, "{step}");
            assert_eq!(parts[0].0.name, "note");
            assert_eq!(
                (parts[0].0.file.as_deref(), parts[0].1.as_str()),
                (None, "hello")
            );
            assert_eq!(parts[1].0.file.as_deref(), Some("a \"b\";.txt"));
            assert_eq!(parts[1].0.content_type.as_deref(), Some("text/plain"));
            assert_eq!(parts[1].1, "one\r\n--xy\r\n-two\r\n", "{step}");
        }
    }

    #[test]
    fn an_empty_content_and_one_that_is_passed_over_end_where_they_end() {
        let body = "--xyz\r\ncontent-disposition: form-data; name=\"a\"\r\n\r\n\r\n--xyz\r\n\
             content-disposition: form-data; name=\"b\"\r\n\r\nx\r\n--xyz--";
        let parts = read(body, 5).unwrap();
        assert_eq!((parts[0].1.as_str(), parts[1].1.as_str()), ("", "x"));
        let mut form = Multipart::of(FORM, TWO.as_bytes()).unwrap();
        form.next().unwrap();
        assert_eq!(form.next().unwrap().unwrap().name, "file");
        assert_eq!(form.next().unwrap(), None);
    }

    #[test]
    fn what_is_cut_short_or_no_form_is_an_error() {
        for end in [10, 60, 90, TWO.len() - 20] {
            assert!(read(&TWO[..end], 64).is_err(), "{end}");
        }
        assert!(read(&format!("--xyz\r\n{}", "x".repeat(20_000)), 4096).is_err());
        assert!(read("--xyz\r\ncontent-type: text/plain\r\n\r\nx\r\n--xyz--", 64).is_err());
        for other in [
            "text/plain",
            "multipart/form-data",
            "multipart/mixed; boundary=xyz",
        ] {
            assert!(Multipart::of(other, io::empty()).is_none(), "{other}");
        }
    }
}
