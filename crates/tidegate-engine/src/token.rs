//! Device tokens: bound to product and device, checked before anything is read from a store.

mod named;

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use tidegate_core::{DeviceId, ProductId};
use tidegate_store::record::{Head, Tokens};

pub use named::Bearer;

/// The longest token an agent in the field can send: its header buffer ends shortly after.
pub const LONGEST_TOKEN: usize = 190;

/// The secrets that sign tokens. The first signs; all of them verify, so that keys can be rotated.
#[derive(Clone)]
pub struct TokenKeys(Vec<TokenKey>);

#[derive(Clone)]
struct TokenKey {
    name: String,
    secret: Vec<u8>,
}

/// Proof of a valid token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// The device's own token of this generation. The device's record has the first generation that is still valid.
    Device {
        /// Number of revocations before it was issued.
        generation: u32,
    },
    /// The product's shared token of this generation. A product accepts it only if its settings allow it, and only for
    /// devices that never had a token of their own.
    Product {
        /// Number of revocations before it was issued.
        generation: u32,
    },
}

impl Proof {
    /// Returns true if the proof is valid for the device's tokens and its product's settings.
    #[must_use]
    pub fn is_accepted(self, tokens: Tokens, head: &Head) -> bool {
        match self {
            Self::Device { generation } => generation >= tokens.generation,
            Self::Product { generation } => {
                let is_good = head.accepts_product_tokens && generation >= head.product_token_generation;
                // After a revocation it would let in whoever was locked out.
                is_good && !tokens.has_own && tokens.generation == 0
            }
        }
    }
}

impl fmt::Debug for TokenKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.0.iter().map(|key| key.name.as_str()).collect::<Vec<_>>();
        write!(f, "TokenKeys({})", names.join(", "))
    }
}

/// Text that is no list of token keys. It never repeats a secret.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "token keys must read name:secret[,name:secret…], the name in a-z 0-9 (at most 16), the secret in base64url of at \
     least 32 bytes"
)]
pub struct TokenKeysError;

/// The sentence, because `main` prints an error so when a function cannot start.
impl fmt::Debug for TokenKeysError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TokenKeys {
    /// Reads `name:base64url-secret[,name:base64url-secret…]`, the value of `TIDEGATE_TOKEN_KEYS`.
    ///
    /// # Errors
    /// When the text reads otherwise. The error says what is expected; it never repeats a secret.
    pub fn parse(text: &str) -> Result<Self, TokenKeysError> {
        let keys = text.split(',').map(TokenKey::parse).collect::<Result<Vec<_>, _>>()?;
        Ok(Self(keys))
    }

    /// The token of a device: `d1.<key>[-<generation>].<mac>`.
    #[must_use]
    pub fn issue(&self, product: &ProductId, device: &DeviceId, generation: u32) -> String {
        let key = self.signing();
        token("d1", key, generation, key.device_mac(product, device, generation))
    }

    /// The token that a whole product shares: `p1.<key>[-<generation>].<mac>`.
    #[must_use]
    pub fn issue_for_product(&self, product: &ProductId, generation: u32) -> String {
        let key = self.signing();
        token("p1", key, generation, key.product_mac(product, generation))
    }

    /// Checks an `Authorization` header: `<token>`, `bearer <token>` or `Bearer <token>`.
    #[must_use]
    pub fn verify(&self, header: &str, product: &ProductId, device: &DeviceId) -> Option<Proof> {
        let (kind, key_id, mac) = split(header)?;
        let (name, generation) = match key_id.rsplit_once('-') {
            Some((name, generation)) => (name, generation.parse().ok().filter(|number| *number > 0)?),
            None => (key_id, 0),
        };
        let key = self.find(name)?;
        let (expected, proof) = match kind {
            "d1" => (key.device_mac(product, device, generation), Proof::Device { generation }),
            "p1" => (key.product_mac(product, generation), Proof::Product { generation }),
            _ => return None,
        };
        matches(&expected, mac).then_some(proof)
    }

    fn find(&self, name: &str) -> Option<&TokenKey> {
        self.0.iter().find(|key| key.name == name)
    }

    fn signing(&self) -> &TokenKey {
        self.0.first().expect("`parse` splits a text, which always has a first part")
    }
}

impl TokenKey {
    fn parse(text: &str) -> Result<Self, TokenKeysError> {
        let (name, secret) = text.trim().split_once(':').ok_or(TokenKeysError)?;
        let named = (1..=16).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        let secret = URL_SAFE_NO_PAD.decode(secret.trim_end_matches('=')).map_err(|_| TokenKeysError)?;
        if !named || secret.len() < 32 {
            return Err(TokenKeysError);
        }
        Ok(Self { name: name.into(), secret })
    }

    fn device_mac(&self, product: &ProductId, device: &DeviceId, generation: u32) -> [u8; 32] {
        self.mac(&["tidegate device token", product.as_str(), device.as_str(), &generation.to_string()])
    }

    fn product_mac(&self, product: &ProductId, generation: u32) -> [u8; 32] {
        let parts = ["tidegate product token", product.as_str()];
        match generation {
            0 => self.mac(&parts),
            _ => self.mac(&[parts[0], parts[1], &generation.to_string()]),
        }
    }

    /// Ids never hold a zero byte, so no two lists of parts read the same.
    fn mac(&self, parts: &[&str]) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.secret).expect("HMAC takes a key of any length");
        for part in parts {
            mac.update(part.as_bytes());
            mac.update(b"\0");
        }
        mac.finalize().into_bytes().into()
    }
}

fn token(kind: &str, key: &TokenKey, generation: u32, mac: [u8; 32]) -> String {
    let (name, mac) = (&key.name, URL_SAFE_NO_PAD.encode(mac));
    match generation {
        0 => format!("{kind}.{name}.{mac}"),
        _ => format!("{kind}.{name}-{generation}.{mac}"),
    }
}

fn split(header: &str) -> Option<(&str, &str, &str)> {
    let header = header.trim();
    let token = match header.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim_start(),
        Some(_) => return None,
        None => header,
    };
    if token.len() > LONGEST_TOKEN {
        return None;
    }
    let (kind, rest) = token.split_once('.')?;
    let (key_id, mac) = rest.split_once('.')?;
    Some((kind, key_id, mac))
}

fn matches(expected: &[u8; 32], given: &str) -> bool {
    URL_SAFE_NO_PAD.decode(given).is_ok_and(|given| bool::from(given.as_slice().ct_eq(expected)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> TokenKeys {
        let secrets =
            text.split(',').map(|name| format!("{name}:{}", URL_SAFE_NO_PAD.encode([name.as_bytes()[0]; 32])));
        TokenKeys::parse(&secrets.collect::<Vec<_>>().join(",")).unwrap()
    }

    fn lamp() -> (ProductId, DeviceId) {
        (ProductId::new("lamp").unwrap(), DeviceId::new("lamp-7").unwrap())
    }

    #[test]
    fn a_token_is_good_for_its_own_device_in_each_spelling_of_the_header() {
        let (product, device) = lamp();
        let token = keys("k1").issue(&product, &device, 0);
        assert!(token.len() < 60, "{token}");
        for header in [token.clone(), format!("bearer {token}"), format!("Bearer {token}"), format!(" {token} ")] {
            assert_eq!(
                keys("k1").verify(&header, &product, &device),
                Some(Proof::Device { generation: 0 }),
                "{header}"
            );
        }
    }

    #[test]
    fn a_token_is_good_for_nothing_else() {
        let (product, device) = lamp();
        let token = keys("k1").issue(&product, &device, 0);
        let other_device = DeviceId::new("lamp-8").unwrap();
        let other_product = ProductId::new("door").unwrap();
        assert_eq!(keys("k1").verify(&token, &product, &other_device), None);
        assert_eq!(keys("k1").verify(&token, &other_product, &device), None);
        assert_eq!(keys("k2").verify(&token, &product, &device), None, "the key is gone");
        for position in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[position] = if bytes[position] == b'A' { b'B' } else { b'A' };
            let altered = String::from_utf8(bytes).unwrap();
            assert_eq!(keys("k1").verify(&altered, &product, &device), None, "{altered}");
        }
        for bad in ["", "bearer", "Basic abc", "d1.k1.", "d1..", "d1.k1-0.AAAA", "x1.k1.AAAA", &"d1.".repeat(100)] {
            assert_eq!(keys("k1").verify(bad, &product, &device), None, "{bad}");
        }
    }

    #[test]
    fn a_later_generation_is_a_different_token_and_old_keys_still_verify() {
        let (product, device) = lamp();
        let token = keys("k1").issue(&product, &device, 3);
        assert_eq!(keys("k2,k1").verify(&token, &product, &device), Some(Proof::Device { generation: 3 }));
        let moved = token.replace("k1-3", "k1-4");
        assert_eq!(keys("k1").verify(&moved, &product, &device), None);
    }

    #[test]
    fn a_product_token_proves_the_product_and_never_a_device() {
        let (product, device) = lamp();
        let token = keys("k1").issue_for_product(&product, 0);
        assert_eq!(keys("k1").verify(&token, &product, &device), Some(Proof::Product { generation: 0 }));
        assert_eq!(keys("k1").verify(&token.replace("p1", "d1"), &product, &device), None);
        let later = keys("k1").issue_for_product(&product, 2);
        assert_eq!(keys("k1").verify(&later, &product, &device), Some(Proof::Product { generation: 2 }));
        assert_eq!(keys("k1").verify(&later.replace("k1-2", "k1-3"), &product, &device), None);
    }

    #[test]
    fn a_product_token_is_accepted_only_for_devices_that_never_had_their_own() {
        let open = Head { accepts_product_tokens: true, product_token_generation: 1, ..Head::default() };
        let shared = Proof::Product { generation: 1 };
        let never = Tokens::default();
        assert!(shared.is_accepted(never, &open));
        assert!(!Proof::Product { generation: 0 }.is_accepted(never, &open), "it is revoked");
        assert!(!shared.is_accepted(never, &Head { accepts_product_tokens: false, ..open.clone() }));
        assert!(!shared.is_accepted(Tokens { has_own: true, ..never }, &open));
        assert!(!shared.is_accepted(Tokens { generation: 1, ..never }, &open), "the device was locked out");
        let own = Proof::Device { generation: 1 };
        assert!(own.is_accepted(Tokens { generation: 1, has_own: true }, &open));
        assert!(!own.is_accepted(Tokens { generation: 2, has_own: true }, &open));
    }

    #[test]
    fn secrets_are_never_printed() {
        assert_eq!(format!("{:?}", keys("k1,k2")), "TokenKeys(k1, k2)");
        assert!(!TokenKeys::parse("k1:hunter2").unwrap_err().to_string().contains("hunter2"));
    }
}
