//! Download URLs of a CloudFront distribution in front of the image bucket.
//!
//! A URL is signed with a canned policy ("Create a signed URL using a canned policy", Amazon CloudFront
//! Developer Guide), an ECDSA P-256 key and SHA-256:
//! - Keys of a key group may be RSA 2048 or ECDSA 256 ("PublicKey", Amazon CloudFront API Reference; since
//!   September 2025).
//! - The hash is SHA-1 unless the URL says `Hash-Algorithm=SHA256` (the guide's example URL; since April 2026).
//! - The signature is ASN.1 DER. The guide does not say so; AWS's own signers do it (aws-sdk-cloudfront-url-signer
//!   in smithy-lang/smithy-rs). AWS's SDK for Java 2.53 and its command line sign with this pair of key and hash.
//!
//! Not tried: no URL of this module was ever sent to CloudFront. The tests compare the bytes with the guide
//! and verify the signature.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::{self, PemObject as _};
use tidegate_core::Timestamp;

/// A distribution and the key that signs its URLs.
pub struct Cdn {
    url: String,
    key_id: String,
    key: EcdsaKeyPair,
    random: SystemRandom,
}

impl fmt::Debug for Cdn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cdn").field("url", &self.url).field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

/// Reason why a text is not the key of a CDN.
#[derive(Debug, thiserror::Error)]
pub enum CdnKeyError {
    /// The text is not PEM, or its PEM holds no PKCS #8 key.
    #[error("the key of the CDN must be an ECDSA P-256 private key in PEM, PKCS #8 (BEGIN PRIVATE KEY)")]
    NotPkcs8(#[source] pem::Error),
    /// The key is damaged or of another kind.
    #[error("the key of the CDN must be an ECDSA P-256 private key: {0}")]
    NotP256(#[source] ring::error::KeyRejected),
}

/// The operating system gave no random number, without which nothing can be signed.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the operating system gives no random number to sign a URL with")]
pub struct NoRandomNumber(#[source] ring::error::Unspecified);

impl Cdn {
    /// The distribution at `url`, such as `https://images.example.com`. `pem` is the private key of its public
    /// key `key_id`.
    ///
    /// # Errors
    /// When `pem` is not an ECDSA P-256 key in PKCS #8.
    pub fn new(url: &str, key_id: &str, pem: &str) -> Result<Self, CdnKeyError> {
        let random = SystemRandom::new();
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).map_err(CdnKeyError::NotPkcs8)?;
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der.secret_pkcs8_der(), &random)
            .map_err(CdnKeyError::NotP256)?;
        Ok(Self { url: url.trim_end_matches('/').to_string(), key_id: key_id.to_string(), key, random })
    }

    /// A URL from which any client can fetch an object until `ends`.
    ///
    /// # Errors
    /// When the operating system gives no random number.
    pub fn sign(&self, object: &str, version: Option<&str>, ends: Timestamp) -> Result<String, NoRandomNumber> {
        let version = version.map(|version| format!("?versionId={version}")).unwrap_or_default();
        let resource = format!("{}/{object}{version}", self.url);
        let separator = if version.is_empty() { '?' } else { '&' };
        let policy = canned_policy(&resource, ends);
        let signature = self.key.sign(&self.random, policy.as_bytes()).map_err(NoRandomNumber)?;
        let (ends_s, signature, key_id) = (ends.as_second(), url_safe(signature.as_ref()), &self.key_id);
        Ok(format!(
            "{resource}{separator}Expires={ends_s}&Signature={signature}&Key-Pair-Id={key_id}&Hash-Algorithm=SHA256"
        ))
    }
}

/// The canned policy, byte for byte as CloudFront builds it from the URL.
fn canned_policy(resource: &str, ends: Timestamp) -> String {
    let ends_s = ends.as_second();
    format!(
        r#"{{"Statement":[{{"Resource":"{resource}","Condition":{{"DateLessThan":{{"AWS:EpochTime":{ends_s}}}}}}}]}}"#
    )
}

/// Base64 with CloudFront's own replacements of the three characters that a query string cannot hold.
fn url_safe(bytes: &[u8]) -> String {
    STANDARD.encode(bytes).replace('+', "-").replace('=', "_").replace('/', "~")
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::signature::{ECDSA_P256_SHA256_ASN1, KeyPair as _, UnparsedPublicKey};

    /// A key that signs nothing but these tests: `openssl genpkey -algorithm EC -pkeyopt
    /// ec_paramgen_curve:P-256`, as infra/examples/complete/README.md tells operators.
    const KEY: &str = include_str!("../tests/cdn-test-key.pem");

    fn cdn() -> Cdn {
        Cdn::new("https://images.example.com/", "K2", KEY).unwrap()
    }

    fn ends() -> Timestamp {
        Timestamp::from_second(1_767_225_600).unwrap()
    }

    fn verified(cdn: &Cdn, policy: &str, signature: &str) -> bool {
        let signature = signature.replace('-', "+").replace('_', "=").replace('~', "/");
        let signature = STANDARD.decode(signature).unwrap();
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, cdn.key.public_key().as_ref());
        public.verify(policy.as_bytes(), &signature).is_ok()
    }

    #[test]
    fn a_url_is_signed_for_its_object_version_and_end() {
        let cdn = cdn();
        let url = cdn.sign("images/lamp/00", Some("v1"), ends()).unwrap();
        let (resource, rest) = url.split_once("&Expires=1767225600&Signature=").unwrap();
        assert_eq!(resource, "https://images.example.com/images/lamp/00?versionId=v1");
        let signature = rest.strip_suffix("&Key-Pair-Id=K2&Hash-Algorithm=SHA256").unwrap();
        let policy = concat!(
            r#"{"Statement":[{"Resource":"https://images.example.com/images/lamp/00?versionId=v1","#,
            r#""Condition":{"DateLessThan":{"AWS:EpochTime":1767225600}}}]}"#
        );
        assert!(verified(&cdn, policy, signature));
        assert!(!verified(&cdn, &policy.replace("v1", "v2"), signature));
        assert!(!verified(&cdn, &policy.replace("1767225600", "1767225601"), signature));
        assert!(!format!("{cdn:?}").contains("key:"));
    }

    #[test]
    fn the_parameters_of_a_url_are_these_in_this_order() {
        let check = |version: Option<&str>, expected: &[&str]| {
            let url = cdn().sign("a", version, ends()).unwrap();
            let (resource, query) = url.split_once('?').unwrap();
            assert_eq!(resource, "https://images.example.com/a");
            let names: Vec<_> = query.split('&').map(|pair| pair.split_once('=').unwrap().0).collect();
            assert_eq!(names, expected);
        };
        check(None, &["Expires", "Signature", "Key-Pair-Id", "Hash-Algorithm"]);
        check(Some("v1"), &["versionId", "Expires", "Signature", "Key-Pair-Id", "Hash-Algorithm"]);
    }

    #[test]
    fn a_signature_has_no_character_that_a_query_string_cannot_hold() {
        assert_eq!(url_safe(&[0xfb, 0xff, 0xbf, 0x00]), "-~-~AA__");
    }

    #[test]
    fn a_key_that_is_none_is_named() {
        let check = |pem: &str, expected: &str| {
            let error = Cdn::new("https://images.example.com", "K2", pem).unwrap_err();
            assert_eq!(error.to_string(), expected);
        };
        let not_pkcs8 = "the key of the CDN must be an ECDSA P-256 private key in PEM, PKCS #8 (BEGIN PRIVATE KEY)";
        check("nonsense", not_pkcs8);
        check(&KEY.replace("PRIVATE KEY", "EC PRIVATE KEY"), not_pkcs8);
        let not_p256 = "the key of the CDN must be an ECDSA P-256 private key: InvalidEncoding";
        check("-----BEGIN PRIVATE KEY-----\nAQID\n-----END PRIVATE KEY-----\n", not_p256);
    }
}
