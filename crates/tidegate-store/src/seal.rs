//! Seals of compiled catalogs: only a function that has the key can make a catalog that `check` believes.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use sha2::{Digest, Sha256};
use tidegate_core::ProductId;

/// The seal is for this use of the key only.
const PURPOSE: &str = "tidegate-catalog-1";
/// Least length of a secret: the output of SHA-256.
const LEAST_SECRET_BYTES: usize = 32;

/// The secrets that seal catalogs. The first seals; all of them verify, so that they can be rotated.
#[derive(Clone)]
pub struct CatalogKey(Vec<hmac::Key>);

/// Text that holds no usable secrets. It never repeats one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the key of catalogs must read secret[,secret…], each in base64url of at least {LEAST_SECRET_BYTES} bytes")]
pub struct CatalogKeyError;

/// Reason why the bytes of a catalog are not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Forged {
    /// The SHA-256 in the name is that of other bytes.
    #[error("its bytes are not those of its name")]
    OtherBytes,
    /// The seal was not made with one of the keys, or for another product or name.
    #[error("it has no valid seal")]
    NotSealed,
}

impl CatalogKey {
    /// Reads `secret[,secret…]`, the value of `TIDEGATE_CATALOG_KEY`.
    ///
    /// # Errors
    /// When the text reads otherwise.
    pub fn parse(text: &str) -> Result<Self, CatalogKeyError> {
        let secrets = text.split(',').map(|secret| {
            let secret = URL_SAFE_NO_PAD.decode(secret.trim().trim_end_matches('=')).map_err(|_| CatalogKeyError)?;
            let is_long = secret.len() >= LEAST_SECRET_BYTES;
            is_long.then(|| hmac::Key::new(hmac::HMAC_SHA256, &secret)).ok_or(CatalogKeyError)
        });
        Ok(Self(secrets.collect::<Result<_, _>>()?))
    }

    /// The seal of a catalog. Its name holds its revision and the digest of its bytes.
    pub(crate) fn seal(&self, product: &ProductId, name: &str) -> String {
        let key = self.0.first().expect("`parse` splits a text, which always has a first part");
        hex::encode(hmac::sign(key, sealed(product, name).as_bytes()))
    }

    /// Checks the bytes and the seal of a catalog against its name.
    ///
    /// # Errors
    /// When somebody without the key, or for another purpose, stored them.
    pub(crate) fn verify(
        &self,
        product: &ProductId,
        name: &str,
        seal: Option<&String>,
        bytes: &[u8],
    ) -> Result<(), Forged> {
        let digest = name.split_once('-').map(|(_, digest)| digest);
        if digest != Some(hex::encode(Sha256::digest(bytes)).as_str()) {
            return Err(Forged::OtherBytes);
        }
        let seal = seal.and_then(|seal| hex::decode(seal).ok()).ok_or(Forged::NotSealed)?;
        let sealed = sealed(product, name);
        let is_valid = self.0.iter().any(|key| hmac::verify(key, sealed.as_bytes(), &seal).is_ok());
        is_valid.then_some(()).ok_or(Forged::NotSealed)
    }
}

fn sealed(product: &ProductId, name: &str) -> String {
    format!("{PURPOSE}\n{product}\n{name}")
}

impl fmt::Debug for CatalogKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CatalogKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::PublishedCatalog;

    fn key(letter: char) -> CatalogKey {
        CatalogKey::parse(&letter.to_string().repeat(64)).unwrap()
    }

    fn product(name: &str) -> ProductId {
        ProductId::new(name).unwrap()
    }

    #[test]
    fn a_seal_is_good_for_one_product_one_name_and_these_bytes() {
        let (key, lamp) = (key('a'), product("lamp"));
        let (name, later) = (PublishedCatalog::of(7, b"bytes").name, PublishedCatalog::of(8, b"bytes").name);
        let seal = key.seal(&lamp, &name);
        let check = |product: &ProductId, name: &str, bytes: &[u8]| key.verify(product, name, Some(&seal), bytes);
        assert_eq!(check(&lamp, &name, b"bytes"), Ok(()));
        assert_eq!(check(&lamp, &name, b"byteS"), Err(Forged::OtherBytes));
        assert_eq!(check(&lamp, &later, b"bytes"), Err(Forged::NotSealed), "an old catalog under a new name");
        assert_eq!(check(&product("lam"), &name, b"bytes"), Err(Forged::NotSealed));
        assert_eq!(key.verify(&lamp, &name, None, b"bytes"), Err(Forged::NotSealed));
        let short = seal.get(..62).map(str::to_string);
        assert_eq!(key.verify(&lamp, &name, short.as_ref(), b"bytes"), Err(Forged::NotSealed));
        assert_eq!(check(&lamp, "7", b"bytes"), Err(Forged::OtherBytes));
    }

    #[test]
    fn a_new_key_is_added_before_the_old_one_goes() {
        let (old, both) = (key('a'), CatalogKey::parse(&format!("{},{}", "b".repeat(64), "a".repeat(64))).unwrap());
        let (lamp, name) = (product("lamp"), PublishedCatalog::of(1, b"bytes").name);
        let check = |key: &CatalogKey, seal: &String| key.verify(&lamp, &name, Some(seal), b"bytes");
        assert_eq!(check(&both, &old.seal(&lamp, &name)), Ok(()));
        assert_eq!(check(&key('b'), &both.seal(&lamp, &name)), Ok(()));
        assert_eq!(check(&old, &both.seal(&lamp, &name)), Err(Forged::NotSealed));
    }

    #[test]
    fn a_key_that_could_be_guessed_is_refused_and_none_is_shown() {
        for text in ["", "abcd", "not base64 at all, and long enough to be a key of 32 bytes", &"a".repeat(42)] {
            assert_eq!(CatalogKey::parse(text).err(), Some(CatalogKeyError), "{text}");
        }
        assert_eq!(format!("{:?}", key('a')), "CatalogKey(…)");
    }
}
