//! Certificates of a control API that are not trusted, in words that say what to do about them.

use std::error::Error as StdError;
use std::io;

use rustls::{CertificateError, OtherError};

use crate::Error;

/// What to do about a server's own certificate that says it is an authority's.
const NOT_AN_AUTHORITYS: &str = "give the node a certificate of a server, and name the file of that \
     with --ca where nobody else vouches for it; OpenSSL makes one by `openssl req -x509 -newkey rsa:2048 \
     -nodes -keyout api.key -out api.pem -days 365 -subj /CN=HOST -addext subjectAltName=DNS:HOST \
     -addext basicConstraints=critical,CA:FALSE`, where the last of these options is what is missing now";

/// What to do about a certificate that nobody vouches for.
const NAME_ITS_AUTHORITY: &str = "name the file of its authority's certificate, or of itself if it has none, \
     with --ca or CANOPY_CA";

/// What a failed request means, where it failed because of a certificate that is explained here.
pub(crate) fn explained(url: &str, failure: &reqwest::Error) -> Option<Error> {
    let first: &(dyn StdError + 'static) = failure;
    let causes = std::iter::successors(Some(first), |cause| (*cause).source());
    let (reason, advice) = match causes.filter_map(certificate_error).next()? {
        CertificateError::Other(OtherError(why))
            if why.downcast_ref() == Some(&webpki::Error::CaUsedAsEndEntity) =>
        {
            (
                "its certificate says that it is an authority's (CA:TRUE), and no server's",
                NOT_AN_AUTHORITYS,
            )
        }
        CertificateError::UnknownIssuer => (
            "nobody who is trusted here vouches for its certificate",
            NAME_ITS_AUTHORITY,
        ),
        _ => return None,
    };
    Some(Error::Untrusted {
        url: url.to_owned(),
        reason,
        advice,
    })
}

/// The fault of a certificate that `cause` is, or has inside: errors of connections, which are put in one
/// another, do not tell it as their source.
fn certificate_error<'a>(cause: &'a (dyn StdError + 'static)) -> Option<&'a CertificateError> {
    match cause.downcast_ref() {
        Some(rustls::Error::InvalidCertificate(error)) => Some(error),
        _ => certificate_error(cause.downcast_ref::<io::Error>()?.get_ref()?),
    }
}
