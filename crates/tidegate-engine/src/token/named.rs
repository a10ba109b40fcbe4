//! Tokens that contain product and device, for protocols whose requests name neither.
//!
//! There are two forms. Both are checked by HMAC before anything is read, as `d1.…` is:
//!
//! - `<product>~<device>~<device token>`: a device's token with its names in front.
//! - A CIK, `<product>~<device>~<mac>`, of exactly 40 characters, because Exosite's `murano-client`
//!   takes an activation for failed whose token is not that long. The MAC fills what the names leave.
//!
//! The product may be left out (`~<device>~…`) if the address contains it: Exosite's devices call
//! `https://<product>.…`, and Kaa's have it in the path. No id contains a `~`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq;
use tidegate_core::{DeviceId, ProductId};

use super::{Proof, TokenKey, TokenKeys};

/// Separator of the parts.
const SEPARATOR: char = '~';
/// Length of a CIK, in characters.
const CIK: usize = 40;
/// The shortest MAC of a CIK, in base64url characters of six bits each. 96 bits are what a forger must
/// guess online, one request per guess; RFC 2104 asks for 80.
const SHORTEST_MAC: usize = 16;
/// The longest text that can be a token: the longest names and the longest device token.
const LONGEST: usize = 64 + 1 + 128 + 1 + super::LONGEST_TOKEN;

/// The device that a token belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bearer {
    /// The product.
    pub product: ProductId,
    /// The device.
    pub device: DeviceId,
    /// The proof that the token gives.
    pub proof: Proof,
}

impl TokenKeys {
    /// The token of a device with its names: a CIK if the names are short enough, otherwise the long form.
    /// `is_addressed` means that the address of every request contains the product.
    #[must_use]
    pub fn issue_named(&self, product: &ProductId, device: &DeviceId, is_addressed: bool) -> String {
        let with_product = format!("{product}{SEPARATOR}{device}{SEPARATOR}");
        let without = format!("{SEPARATOR}{device}{SEPARATOR}");
        let fits = |names: &String| names.len() + SHORTEST_MAC <= CIK;
        let names = [Some(&with_product), is_addressed.then_some(&without)];
        match names.into_iter().flatten().find(|names| fits(names)) {
            Some(names) => {
                let mac = self.signing().cik_mac(product, device);
                // A MAC has 43 characters, and the names at least four.
                format!("{names}{}", mac.get(..CIK - names.len()).unwrap_or_default())
            }
            None => format!("{with_product}{}", self.issue(product, device, 0)),
        }
    }

    /// Reads and checks a token with names. `addressed` is the product in the address, if there is one. It replaces a
    /// product that the token leaves out.
    #[must_use]
    pub fn verify_named(&self, token: &str, addressed: Option<&str>) -> Option<Bearer> {
        let token = token.trim();
        if token.len() > LONGEST {
            return None;
        }
        let mut parts = token.splitn(3, SEPARATOR);
        let (named, device, secret) = (parts.next()?, parts.next()?, parts.next()?);
        let product = match (named, addressed) {
            ("", Some(addressed)) => addressed,
            (named, _) => named,
        };
        let product = ProductId::new(product).ok()?;
        let device = DeviceId::new(device).ok()?;
        let proof = match secret.contains('.') {
            true => self.verify(secret, &product, &device).filter(|proof| matches!(proof, Proof::Device { .. })),
            false => self.verify_cik(token.len(), secret, &product, &device),
        }?;
        Some(Bearer { product, device, proof })
    }

    fn verify_cik(&self, length: usize, mac: &str, product: &ProductId, device: &DeviceId) -> Option<Proof> {
        if length != CIK || mac.len() < SHORTEST_MAC {
            return None;
        }
        let is_good = |key: &TokenKey| {
            let expected = key.cik_mac(product, device);
            expected.as_bytes().get(..mac.len()).is_some_and(|expected| bool::from(expected.ct_eq(mac.as_bytes())))
        };
        // An operator revokes tokens by their generation, and a CIK is always of the first.
        self.0.iter().any(is_good).then_some(Proof::Device { generation: 0 })
    }
}

impl TokenKey {
    fn cik_mac(&self, product: &ProductId, device: &DeviceId) -> String {
        URL_SAFE_NO_PAD.encode(self.mac(&["tidegate exosite cik", product.as_str(), device.as_str()]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(names: &str) -> TokenKeys {
        let secrets =
            names.split(',').map(|name| format!("{name}:{}", URL_SAFE_NO_PAD.encode([name.as_bytes()[1]; 32])));
        TokenKeys::parse(&secrets.collect::<Vec<_>>().join(",")).unwrap()
    }

    fn issued(product: &str, device: &str, is_addressed: bool) -> String {
        keys("k1").issue_named(&ProductId::new(product).unwrap(), &DeviceId::new(device).unwrap(), is_addressed)
    }

    fn whose(token: &str, addressed: Option<&str>) -> String {
        match keys("k1").verify_named(token, addressed) {
            Some(Bearer { product, device, proof }) => format!("{product} {device} {proof:?}"),
            None => "nobody's".into(),
        }
    }

    #[test]
    fn a_cik_has_forty_characters_and_says_whose_it_is() {
        for (product, device, is_addressed, start) in [
            ("lamp", "dev1", false, "lamp~dev1~"),
            ("lamp", "a-device-of-18-chars", true, "~a-device-of-18-chars~"),
            ("thermostat", "aa:bb:cc:dd:ee:ff", true, "~aa:bb:cc:dd:ee:ff~"),
            ("a", "b", false, "a~b~"),
        ] {
            let token = issued(product, device, is_addressed);
            assert_eq!(token.len(), 40, "{token}");
            assert!(token.starts_with(start), "{token}");
            let expected = format!("{product} {device} Device {{ generation: 0 }}");
            assert_eq!(whose(&token, is_addressed.then_some(product)), expected);
        }
    }

    #[test]
    fn names_that_are_too_long_for_a_cik_go_in_front_of_a_device_token() {
        let uuid = "6ff6e5a4-9d38-4b5c-9d51-2fbb6a0e3f0b";
        let token = issued("thermostat", uuid, true);
        assert!(token.starts_with(&format!("thermostat~{uuid}~d1.k1.")), "{token}");
        assert_eq!(whose(&token, None), format!("thermostat {uuid} Device {{ generation: 0 }}"));
        let without = token.trim_start_matches("thermostat");
        assert_eq!(whose(without, Some("thermostat")), format!("thermostat {uuid} Device {{ generation: 0 }}"));
        assert_eq!(whose(without, None), "nobody's");
        assert_eq!(whose(without, Some("lamp")), "nobody's");
        // The longest names there can be.
        let token = issued(&"p".repeat(64), &"d".repeat(128), true);
        assert_ne!(whose(&token, None), "nobody's");
    }

    #[test]
    fn a_changed_token_is_nobodys() {
        for token in [issued("lamp", "dev1", false), issued("lamp", &"d".repeat(40), false)] {
            for position in 0..token.len() {
                let mut bytes = token.clone().into_bytes();
                bytes[position] = if bytes[position] == b'A' { b'B' } else { b'A' };
                let altered = String::from_utf8(bytes).unwrap();
                assert_eq!(whose(&altered, Some("lamp")), "nobody's", "{altered}");
            }
            assert_eq!(whose(&token[..token.len() - 1], None), "nobody's", "a shorter MAC is none");
            assert_eq!(whose(&format!("{token}A"), None), "nobody's");
            assert_eq!(keys("k2").verify_named(&token, None), None, "the key is gone");
            assert!(keys("k2,k1").verify_named(&token, None).is_some(), "or is not the first any more");
        }
        // Names that leave no room for a MAC, and a product's token, which proves no device.
        let product = keys("k1").issue_for_product(&ProductId::new("lamp").unwrap(), 0);
        let crowded = format!("{}~{}~A", "p".repeat(18), "d".repeat(19));
        for bad in
            ["", "~", "~~", "lamp~dev1", "lamp~dev1~", &crowded, &format!("lamp~dev1~{product}"), &"~".repeat(500)]
        {
            assert_eq!(whose(bad, Some("lamp")), "nobody's", "{bad}");
        }
    }
}
