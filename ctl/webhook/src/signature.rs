//! Signatures as Standard Webhooks describes them: HMAC-SHA256 (RFC 2104) over `id.timestamp.body`, in base64.

use base64::prelude::{BASE64_STANDARD, Engine};
use ring::hmac;
use thiserror::Error;

/// Fewest bytes of a secret.
const LEAST: usize = 24;
/// Most bytes of a secret's file.
pub(crate) const MOST: usize = 4096;

/// A receiver's secret.
#[derive(Debug, Clone)]
pub(crate) struct Secret(hmac::Key);

/// Why a text is no secret. It says nothing of what the text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SecretError {
    /// Too short to be safe.
    #[error(
        "the secret has {0} bytes; it takes {LEAST} or more, as by: echo whsec_$(openssl rand -base64 32)"
    )]
    Short(usize),
    /// More than anybody's secret.
    #[error("it has more than {MOST} bytes; a secret is one line")]
    Long,
    /// `whsec_`, and then something else than base64.
    #[error("what follows \"whsec_\" is not base64")]
    Base64,
}

impl Secret {
    /// Out of a file's contents: `whsec_` and base64, or the line itself.
    pub fn new(file: &[u8]) -> Result<Self, SecretError> {
        if file.len() > MOST {
            return Err(SecretError::Long);
        }
        let line = file.trim_ascii();
        let decoded = match line.strip_prefix(b"whsec_") {
            Some(text) => BASE64_STANDARD.decode(text).map_err(|_| SecretError::Base64)?,
            None => line.to_vec(),
        };
        if decoded.len() < LEAST {
            return Err(SecretError::Short(decoded.len()));
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &decoded)))
    }

    /// The value of `Webhook-Signature`. `id` has no full stop.
    pub fn sign(&self, id: &str, unix_s: u64, body: &[u8]) -> String {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(format!("{id}.{unix_s}.").as_bytes());
        context.update(body);
        format!("v1,{}", BASE64_STANDARD.encode(context.sign()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_that_of_the_reference_implementation() {
        // The example of the Standard Webhooks libraries' own tests.
        let secret = Secret::new(b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").unwrap();
        let signature =
            secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_secret_is_a_line_of_at_least_24_bytes_or_their_base64() {
        let wrong = |file: &[u8]| Secret::new(file).map(|_| ()).unwrap_err();
        assert!(Secret::new(b"0123456789abcdef01234567\n").is_ok());
        assert_eq!(wrong(b""), SecretError::Short(0));
        assert_eq!(wrong(b"0123456789abcdef0123456\n"), SecretError::Short(23));
        assert_eq!(wrong(b"whsec_c2hvcnQ="), SecretError::Short(5));
        assert_eq!(wrong(b"whsec_not base64, is it"), SecretError::Base64);
        assert_eq!(wrong(&[b'x'; MOST + 1]), SecretError::Long);
    }
}
