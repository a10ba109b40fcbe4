//! Download URLs of a CloudFront distribution in front of the image bucket.
//!
//! A URL is signed with a canned policy ("Creating a signed URL using a canned policy", Amazon CloudFront
//! Developer Guide): RSA over SHA-1, which is what CloudFront asks for. Who could collide SHA-1 would have
//! to choose the policy, and we write it.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rsa::RsaPrivateKey;
use rsa::pkcs1::DecodeRsaPrivateKey as _;
use rsa::pkcs1v15::SigningKey;
use rsa::pkcs8::DecodePrivateKey as _;
use rsa::rand_core::OsRng;
use rsa::signature::{RandomizedSigner as _, SignatureEncoding as _};
use sha1_for_rsa::Sha1;
use tidegate_core::Timestamp;

/// A distribution, and the key that it trusts.
pub struct Cdn {
    url: String,
    key_id: String,
    key: SigningKey<Sha1>,
}

impl fmt::Debug for Cdn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cdn").field("url", &self.url).field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

impl Cdn {
    /// The distribution at `url`, such as `https://images.example.com`, with the private key in PEM
    /// (PKCS #1 or #8) of its public key `key_id`.
    ///
    /// # Errors
    /// A sentence, when the key is not an RSA key in PEM.
    pub fn new(url: &str, key_id: &str, pem: &str) -> Result<Self, String> {
        let key = RsaPrivateKey::from_pkcs8_pem(pem)
            .ok()
            .or_else(|| RsaPrivateKey::from_pkcs1_pem(pem).ok())
            .ok_or("the key of the CDN must be an RSA private key in PEM, PKCS #1 or #8")?;
        let url = url.trim_end_matches('/').to_string();
        Ok(Self { url, key_id: key_id.to_string(), key: SigningKey::<Sha1>::new(key) })
    }

    /// A URL from which anybody can fetch an object until `ends`.
    #[must_use]
    pub fn sign(&self, object: &str, version: Option<&str>, ends: Timestamp) -> String {
        let version = version.map(|version| format!("?versionId={version}")).unwrap_or_default();
        let resource = format!("{}/{object}{version}", self.url);
        let separator = if version.is_empty() { '?' } else { '&' };
        let signature = self.key.sign_with_rng(&mut OsRng, policy(&resource, ends).as_bytes());
        let signature = STANDARD.encode(signature.to_bytes()).replace('+', "-").replace('=', "_").replace('/', "~");
        let (ends_s, key_id) = (ends.as_second(), &self.key_id);
        format!("{resource}{separator}Expires={ends_s}&Signature={signature}&Key-Pair-Id={key_id}")
    }
}

/// The canned policy, byte for byte as CloudFront rebuilds it.
fn policy(resource: &str, ends: Timestamp) -> String {
    let ends_s = ends.as_second();
    format!(
        r#"{{"Statement":[{{"Resource":"{resource}","Condition":{{"DateLessThan":{{"AWS:EpochTime":{ends_s}}}}}}}]}}"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use rsa::pkcs1v15::{Signature, VerifyingKey};
    use rsa::pkcs8::{EncodePrivateKey as _, LineEnding};
    use rsa::signature::Verifier as _;

    #[test]
    fn a_url_is_signed_for_its_object_version_and_end() {
        let key = RsaPrivateKey::new(&mut OsRng, 1024).unwrap();
        let pem = key.to_pkcs8_pem(LineEnding::LF).unwrap();
        let cdn = Cdn::new("https://images.example.com/", "K2", &pem).unwrap();
        let ends = Timestamp::from_second(1_767_225_600).unwrap();
        let url = cdn.sign("images/lamp/00", Some("v1"), ends);
        let (resource, rest) = url.split_once("&Expires=1767225600&Signature=").unwrap();
        assert_eq!(resource, "https://images.example.com/images/lamp/00?versionId=v1");
        let signature = rest.strip_suffix("&Key-Pair-Id=K2").unwrap();
        let bytes = signature.replace('-', "+").replace('_', "=").replace('~', "/");
        let signature = Signature::try_from(STANDARD.decode(bytes).unwrap().as_slice()).unwrap();
        let expected = concat!(
            r#"{"Statement":[{"Resource":"https://images.example.com/images/lamp/00?versionId=v1","#,
            r#""Condition":{"DateLessThan":{"AWS:EpochTime":1767225600}}}]}"#
        );
        let verifying = VerifyingKey::<Sha1>::new(key.to_public_key());
        assert!(verifying.verify(expected.as_bytes(), &signature).is_ok());
        assert!(verifying.verify(expected.replace("v1", "v2").as_bytes(), &signature).is_err());
        assert!(cdn.sign("a", None, ends).starts_with("https://images.example.com/a?Expires=1767225600&Signature="));
        assert!(!format!("{cdn:?}").contains("key:"));
    }

    #[test]
    fn a_key_that_is_none_is_named() {
        let error = Cdn::new("https://images.example.com", "K2", "nonsense").unwrap_err();
        assert_eq!(error, "the key of the CDN must be an RSA private key in PEM, PKCS #1 or #8");
    }
}
