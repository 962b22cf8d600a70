//! Signatures by the Standard Webhooks specification, version 1.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// What secrets begin with.
const PREFIX: &str = "whsec_";

/// A secret.
#[derive(Clone)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Reads a secret, or nothing if it is not of the length that the specification asks for.
    pub fn read(text: &str) -> Option<Self> {
        let bytes = BASE64_STANDARD.decode(text.strip_prefix(PREFIX)?).ok()?;
        (24..=64).contains(&bytes.len()).then_some(Self(bytes))
    }

    /// The signature of `body`, sent as the event `id` at `timestamp`.
    fn sign(&self, id: &str, timestamp: i64, body: &str) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("any length");
        mac.update(format!("{id}.{timestamp}.{body}").as_bytes());
        format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
    }
}

/// The header `webhook-signature`: a signature by each of `secrets`.
pub fn signatures(secrets: &[Secret], id: &str, timestamp: i64, body: &str) -> String {
    let signed = secrets
        .iter()
        .map(|secret| secret.sign(id, timestamp, body));
    signed.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example that the specification's own libraries are tested with.
    #[test]
    fn the_published_example_is_signed_as_published() {
        let secret = Secret::read("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signed = signatures(
            &[secret],
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            "{\"test\": 2432232314}",
        );
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn each_secret_signs() {
        let secrets =
            ["A", "B"].map(|letter| Secret::read(&format!("whsec_{}", letter.repeat(32))).unwrap());
        let both = signatures(&secrets, "id", 1, "{}");
        let (one, two) = both.split_once(' ').unwrap();
        assert_ne!(one, two);
        assert_eq!(one, signatures(&secrets[..1], "id", 1, "{}"));
    }

    #[test]
    fn secrets_of_other_forms_are_refused() {
        let (short, long) = ("A".repeat(28), "A".repeat(92));
        for bad in [
            "",
            "whsec_",
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "whsec_!",
            &format!("whsec_{short}"),
            &format!("whsec_{long}"),
        ] {
            assert!(Secret::read(bad).is_none(), "{bad}");
        }
    }
}
