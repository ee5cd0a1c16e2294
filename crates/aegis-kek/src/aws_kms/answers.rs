//! Makes a [`KmsFault`] of what the SDK says. The quirks of answers are explained here.

use std::error::Error;
use std::io;

use aegis_crypto::KeyId;
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kms::primitives::Blob;
use http_body_util::LengthLimitError;

use super::fault::{CredentialsTrouble, KmsAction, KmsFault, Oddity};
use super::settings::MAX_CIPHERTEXT_LEN;
use super::wire::{MAX_ANSWER_LEN, Wire};

/// The most bytes of a reason or code that is passed on.
const MAX_TEXT_LEN: usize = 200;

/// One request, for what is said about it.
pub(super) struct Request<'a> {
    pub(super) action: KmsAction,
    pub(super) key: &'a str,
    pub(super) region: &'a str,
    pub(super) kek: KeyId,
    pub(super) wire: &'a Wire,
}

impl Request<'_> {
    /// That the answer came, and cannot be used.
    pub(super) const fn odd(&self, oddity: Oddity) -> KmsFault {
        KmsFault::Unexpected { action: self.action, oddity }
    }

    /// The ciphertext of an answer.
    pub(super) fn ciphertext(&self, blob: Option<Blob>) -> Result<Vec<u8>, KmsFault> {
        const PART: &str = "CiphertextBlob";
        let blob = blob.ok_or_else(|| self.odd(Oddity::Missing { part: PART }))?.into_inner();
        match blob.len() {
            1..=MAX_CIPHERTEXT_LEN => Ok(blob),
            found => Err(self.odd(Oddity::Length { part: PART, found })),
        }
    }

    /// Why it failed.
    pub(super) fn fault<E>(&self, error: &SdkError<E>) -> KmsFault
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let attempts = self.wire.take_attempts();
        let endpoint = self.wire.endpoint().unwrap_or("KMS").to_owned();
        if self.wire.held_back() {
            return KmsFault::PlainHttp { endpoint };
        }
        match error {
            SdkError::ServiceError(service) => {
                let raw = service.raw();
                let message = service.err().message().unwrap_or_default();
                let code = service.err().code().map(plain);
                let code = code.or_else(|| raw.body().bytes().and_then(xml_code));
                self.service_fault(raw.status().as_u16(), code.as_deref(), message, attempts)
            }
            SdkError::TimeoutError(_) => KmsFault::TimedOut { endpoint, attempts },
            SdkError::DispatchFailure(failure) => {
                if failure.is_timeout() {
                    return KmsFault::TimedOut { endpoint, attempts };
                }
                if let Some(tls) = find::<rustls::Error>(error) {
                    return KmsFault::Tls { endpoint, reason: plain(&tls.to_string()) };
                }
                let reason = find::<io::Error>(error).map_or_else(|| innermost(error), io::Error::to_string);
                KmsFault::Unreachable { endpoint, reason: plain(&reason) }
            }
            SdkError::ResponseError(_) => {
                let oddity = match find::<LengthLimitError>(error) {
                    Some(_) => Oddity::TooLong { max: MAX_ANSWER_LEN },
                    None => Oddity::BrokenOff,
                };
                self.odd(oddity)
            }
            // What cannot be sent as it was set, such as an endpoint of a profile that is no address.
            _ => KmsFault::Unreachable { endpoint, reason: "no request could be made for it".to_owned() },
        }
    }

    /// The codes of the KMS API, and those that every AWS service has.
    fn service_fault(&self, status: u16, code: Option<&str>, message: &str, attempts: u32) -> KmsFault {
        let &Self { action, key, region, kek, .. } = self;
        let key = key.to_owned();
        let Some(code) = code else {
            return match status {
                401 | 403 => KmsFault::Refused { action, key, status },
                429 => KmsFault::Throttled { action, attempts },
                500.. => KmsFault::Failing { status, attempts },
                _ => self.odd(Oddity::NotUnderstood { status }),
            };
        };
        match code {
            "AccessDeniedException" | "AccessDenied" => KmsFault::AccessDenied { action, key },
            "ExpiredTokenException"
            | "ExpiredToken"
            | "InvalidClientTokenId"
            | "InvalidAccessKeyId"
            | "UnrecognizedClientException"
            | "MissingAuthenticationToken"
            | "MissingAuthenticationTokenException"
            | "OptInRequired" => KmsFault::CredentialsRefused { code: code.to_owned() },
            "SignatureDoesNotMatch"
            | "InvalidSignatureException"
            | "IncompleteSignature"
            | "IncompleteSignatureException"
            | "RequestExpired"
            | "RequestTimeTooSkewed" => KmsFault::Signature { action, code: code.to_owned() },
            "DisabledException" => KmsFault::Disabled { key },
            // One code for several states; only the text says which.
            "KMSInvalidStateException" | "KMSInvalidState" => {
                let message = message.to_ascii_lowercase();
                if message.contains("pending deletion") || message.contains("pendingdeletion") {
                    KmsFault::PendingDeletion { key }
                } else {
                    KmsFault::InvalidState { key }
                }
            }
            "NotFoundException" => KmsFault::NotFound { key, region: region.to_owned() },
            "InvalidKeyUsageException" => KmsFault::KeyUsage { key },
            "IncorrectKeyException" => KmsFault::IncorrectKey { key },
            "InvalidCiphertextException" => KmsFault::InvalidCiphertext { kek },
            "ThrottlingException"
            | "Throttling"
            | "ThrottledException"
            | "RequestThrottled"
            | "RequestThrottledException"
            | "RequestLimitExceeded"
            | "TooManyRequestsException"
            | "SlowDown"
            | "LimitExceededException" => KmsFault::Throttled { action, attempts },
            _ if status >= 500 => KmsFault::Failing { status, attempts },
            _ => KmsFault::Rejected { action, code: code.to_owned() },
        }
    }
}

/// Why there are no credentials. What a source of them printed may hold some, so nothing of it is passed on.
pub(super) const fn credentials_fault(error: &CredentialsError) -> KmsFault {
    let trouble = match error {
        CredentialsError::CredentialsNotLoaded(_) => return KmsFault::NoCredentials,
        CredentialsError::ProviderTimedOut(_) => CredentialsTrouble::TimedOut,
        CredentialsError::InvalidConfiguration(_) => CredentialsTrouble::Configuration,
        CredentialsError::ProviderError(_) => CredentialsTrouble::Source,
        _ => CredentialsTrouble::NotUnderstood,
    };
    KmsFault::Credentials { trouble }
}

/// The error code of an answer in XML. KMS itself answers in JSON; what stands before it, and an emulator that refuses
/// a signature, may answer as the older services of AWS do.
fn xml_code(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    let (_, rest) = text.split_once("<Code>")?;
    let (code, _) = rest.split_once("</Code>")?;
    let fits = (1..=64).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
    fits.then(|| code.to_owned())
}

/// The first error of a type among the causes, also inside an [`io::Error`], which hides the one that it holds.
fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    // Causes are finite, but for a broken `source`.
    for _ in 0..32 {
        let error = next?;
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if let Some(found) = inner.and_then(|inner| inner.downcast_ref::<T>()) {
            return Some(found);
        }
        next = inner.map_or_else(|| error.source(), |inner| Some(inner));
    }
    None
}

fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut last = error;
    for _ in 0..32 {
        match last.source() {
            Some(source) => last = source,
            None => break,
        }
    }
    last.to_string()
}

/// One line of printable characters, cut at a length: it may come from the network.
fn plain(text: &str) -> String {
    text.chars().take(MAX_TEXT_LEN).map(|c| if (' '..='~').contains(&c) { c } else { '?' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_nothing_but_a_short_code_out_of_xml() {
        for (body, expected) in [
            ("<Error><Code>SignatureDoesNotMatch</Code></Error>", Some("SignatureDoesNotMatch")),
            ("<Error><Code></Code></Error>", None),
            ("<Error><Code>a b</Code></Error>", None),
            ("<Error><Code>AccessDenied", None),
            ("{\"__type\":\"AccessDenied\"}", None),
            (&*format!("<Code>{}</Code>", "x".repeat(65)), None),
        ] {
            assert_eq!(xml_code(body.as_bytes()).as_deref(), expected, "{body}");
        }
        assert_eq!(xml_code(b"\xff<Code>AccessDenied</Code>"), None);
    }

    #[test]
    fn text_from_the_network_is_one_short_line() {
        let shown = plain(&format!("a\u{1b}[31m\r\nb{}", "x".repeat(10_000)));
        assert!(shown.starts_with("a?[31m??bxx"), "{shown}");
        assert_eq!(shown.len(), MAX_TEXT_LEN);
    }
}
