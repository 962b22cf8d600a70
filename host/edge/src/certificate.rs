//! One certificate with its key: read from two files, checked against one another, and the names
//! and the time for which it is valid.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error as TlsError, InconsistentKeys};
use time::{Date, Month, OffsetDateTime};
use webpki::EndEntityCert;

/// More is no certificate and no key.
const FILE_BYTES: u64 = 1 << 20;

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read.
    #[error("{path}: {error}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A file holds something else.
    #[error("{path}: {message}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what should be there.
        message: String,
    },
    /// The key belongs to another certificate.
    #[error("{key}: this is not the key of the certificate in {certificate}")]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
}

/// A certificate that can be shown to clients.
#[derive(Debug, Clone)]
pub(crate) struct Certificate {
    pub(crate) key: Arc<CertifiedKey>,
    /// The DNS names that it is for, in lower case; one may begin with `*.`.
    pub(crate) names: Arc<[Box<str>]>,
    pub(crate) expires: OffsetDateTime,
}

impl Certificate {
    /// Reads the chain and the key of one certificate, both PEM.
    pub(crate) fn read(
        certificate: &Path,
        key: &Path,
        provider: &CryptoProvider,
    ) -> Result<Self, CertificateError> {
        let content = |path: &Path, message: String| CertificateError::Content {
            path: path.to_owned(),
            message,
        };
        let chain: Vec<CertificateDer<'static>> =
            CertificateDer::pem_slice_iter(&read(certificate)?)
                .collect::<Result<_, _>>()
                .map_err(|error| content(certificate, format!("not PEM: {error}")))?;
        let Some(first) = chain.first().cloned() else {
            let message = "no certificate is in it; it begins with `-----BEGIN CERTIFICATE-----`";
            return Err(content(certificate, message.into()));
        };
        let private = PrivateKeyDer::from_pem_slice(&read(key)?)
            .map_err(|error| content(key, format!("no private key is in it: {error}")))?;
        let certified =
            CertifiedKey::from_der(chain, private, provider).map_err(|error| match error {
                TlsError::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                    CertificateError::Mismatch {
                        certificate: certificate.to_owned(),
                        key: key.to_owned(),
                    }
                }
                other => content(certificate, format!("it cannot be used: {other}")),
            })?;
        let parsed = EndEntityCert::try_from(&first)
            .map_err(|error| content(certificate, format!("not a certificate: {error}")))?;
        let names = parsed
            .valid_dns_names()
            .map(|name| name.to_ascii_lowercase().into())
            .collect();
        let expires = expiry(&first)
            .ok_or_else(|| content(certificate, "it does not say until when it is valid".into()))?;
        Ok(Self {
            key: Arc::new(certified),
            names,
            expires,
        })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(FILE_BYTES).read_to_end(&mut bytes))
        .map_err(|error| CertificateError::Read {
            path: path.to_owned(),
            error,
        })?;
    Ok(bytes)
}

/// When a certificate (DER) ends to be valid: `notAfter` of RFC 5280, section 4.1.
fn expiry(certificate: &[u8]) -> Option<OffsetDateTime> {
    const SEQUENCE: u8 = 0x30;
    const VERSION: u8 = 0xa0;
    let (_, mut inside) = element(&mut &*certificate).filter(|(tag, _)| *tag == SEQUENCE)?;
    let (_, mut signed) = element(&mut inside).filter(|(tag, _)| *tag == SEQUENCE)?;
    if signed.first() == Some(&VERSION) {
        element(&mut signed)?;
    }
    // Serial number, signature algorithm, issuer; then the time.
    for _ in 0..3 {
        element(&mut signed)?;
    }
    let (_, mut validity) = element(&mut signed).filter(|(tag, _)| *tag == SEQUENCE)?;
    element(&mut validity)?;
    let (tag, text) = element(&mut validity)?;
    time_of(tag, std::str::from_utf8(text).ok()?)
}

/// The next element of DER: its tag and its content.
fn element<'a>(input: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (&tag, rest) = input.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let length = if first < 0x80 {
        usize::from(first)
    } else {
        let (bytes, after) = rest.split_at_checked(usize::from(first & 0x7f))?;
        rest = after;
        if bytes.len() > 4 {
            return None;
        }
        bytes
            .iter()
            .fold(0, |sum, byte| sum << 8 | usize::from(*byte))
    };
    let (content, rest) = rest.split_at_checked(length)?;
    *input = rest;
    Some((tag, content))
}

fn time_of(tag: u8, text: &str) -> Option<OffsetDateTime> {
    const UTC_TIME: u8 = 0x17;
    const GENERALIZED_TIME: u8 = 0x18;
    let (year, rest) = match tag {
        UTC_TIME => {
            let year: i32 = text.get(..2)?.parse().ok()?;
            (year + if year < 50 { 2000 } else { 1900 }, text.get(2..)?)
        }
        GENERALIZED_TIME => (text.get(..4)?.parse().ok()?, text.get(4..)?),
        _ => return None,
    };
    let part = |at: usize| rest.get(at..at + 2)?.parse::<u8>().ok();
    let date = Date::from_calendar_date(year, Month::try_from(part(0)?).ok()?, part(2)?).ok()?;
    let time = date.with_hms(part(4)?, part(6)?, part(8)?).ok()?;
    Some(time.assume_utc())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use time::macros::datetime;

    use super::*;

    #[test]
    fn both_forms_of_time() {
        let utc = time_of(0x17, "491231235959Z");
        assert_eq!(utc, Some(datetime!(2049-12-31 23:59:59 UTC)));
        let old = time_of(0x17, "500101000000Z");
        assert_eq!(old, Some(datetime!(1950-01-01 0:00 UTC)));
        let far = time_of(0x18, "99991231235959Z");
        assert_eq!(far, Some(datetime!(9999-12-31 23:59:59 UTC)));
        for (tag, text) in [(0x17, ""), (0x17, "4913"), (0x18, "20269931"), (2, "1")] {
            assert_eq!(time_of(tag, text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            expiry(&bytes);
        }
    }
}
