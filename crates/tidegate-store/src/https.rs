//! The HTTPS client of every call to AWS: rustls with ring's cryptography, and the roots that it trusts.
//!
//! ARCHITECTURE.md, "A cold start", says why neither is the SDK's default.

use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_http_client::{Builder, ConnectorBuilder};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::connector_metadata::ConnectorMetadata;
use aws_smithy_runtime_api::client::http::{HttpClient, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject};

/// The variable that names a file of PEM certificates to trust instead, as it does for every AWS SDK
/// that reads it.
pub const BUNDLE: &str = "AWS_CA_BUNDLE";

const AMAZON: &[u8] = include_bytes!("../amazon-roots.pem");

/// Reason why there can be no HTTPS client.
#[derive(Debug, thiserror::Error)]
pub enum HttpsError {
    /// The file that [`BUNDLE`] names cannot be read.
    #[error("{BUNDLE} names {path}, which cannot be read: {source}")]
    Unreadable {
        /// The file.
        path: String,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// The file that [`BUNDLE`] names is not PEM.
    #[error("{BUNDLE} names {path}, which is not PEM: {source}")]
    NotPem {
        /// The file.
        path: String,
        /// The place that is wrong.
        source: pem::Error,
    },
    /// The file that [`BUNDLE`] names holds no certificate that rustls can use as a root.
    #[error("{BUNDLE} names {path}, which holds no certificate")]
    Empty {
        /// The file.
        path: String,
    },
    /// The SDK refused the roots.
    #[error(transparent)]
    Tls(BoxError),
}

/// Roots that are trusted if [`BUNDLE`] is not set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Roots {
    /// Only Amazon Trust Services, which signs for every endpoint of AWS.
    Amazon,
    /// All roots that the machine trusts.
    System,
}

/// A client for HTTP and HTTPS. It uses the proxy of the environment if there is one.
///
/// # Errors
/// When the file that [`BUNDLE`] names cannot be used.
pub fn client(roots: Roots) -> Result<SharedHttpClient, HttpsError> {
    let trusted = match std::env::var(BUNDLE) {
        Ok(path) => bundle(&path)?,
        Err(_) => trusted(roots),
    };
    let tls = TlsContext::builder().with_trust_store(trusted).build().map_err(|error| HttpsError::Tls(error.into()))?;
    Ok(SharedHttpClient::new(OnDemand(Builder::new().build_with_connector_fn(move |settings, components| {
        let mut connector = ConnectorBuilder::default().tls_provider(Provider::rustls(CryptoMode::Ring));
        connector.set_tls_context(tls.clone());
        connector.set_connector_settings(settings.cloned());
        connector.set_proxy_config(Some(ProxyConfig::from_env()));
        if let Some(components) = components {
            connector.set_sleep_impl(components.sleep_impl());
        }
        connector.build()
    }))))
}

/// A client that builds its connector once, at the first request. The SDK's own client also builds one for
/// each service and drops it, to read the roots early. That is most of the cost of the roots.
#[derive(Debug)]
struct OnDemand(SharedHttpClient);

impl HttpClient for OnDemand {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        self.0.http_connector(settings, components)
    }

    fn connector_metadata(&self) -> Option<ConnectorMetadata> {
        self.0.connector_metadata()
    }
}

fn trusted(roots: Roots) -> TrustStore {
    match roots {
        Roots::Amazon => TrustStore::empty().with_pem_certificate(AMAZON),
        Roots::System => TrustStore::default(),
    }
}

/// The certificates of a bundle that rustls can use as roots. Others are skipped, as they are when the
/// system's own are loaded: the connector would panic on them.
fn bundle(path: &str) -> Result<TrustStore, HttpsError> {
    let path = path.to_string();
    let pem = match std::fs::read(&path) {
        Ok(pem) => pem,
        Err(source) => return Err(HttpsError::Unreadable { path, source }),
    };
    let mut store = TrustStore::empty();
    let mut is_empty = true;
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = match certificate {
            Ok(certificate) => certificate,
            Err(source) => return Err(HttpsError::NotPem { path, source }),
        };
        if RootCertStore::empty().add(certificate.clone()).is_ok() {
            store.add_pem_certificate(pem_of(&certificate));
            is_empty = false;
        }
    }
    if is_empty { Err(HttpsError::Empty { path }) } else { Ok(store) }
}

fn pem_of(certificate: &CertificateDer<'_>) -> String {
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(certificate))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest as _, Sha256};

    /// Name, end of validity as X.509 writes it, SHA-256 of the certificate: from
    /// <https://www.amazontrust.com/repository/>.
    const EXPECTED: [(&str, &str, &str); 5] = [
        ("Amazon Root CA 1", "380117000000Z", "8ecde6884f3d87b1125ba31ac3fcb13d7016de7f57cc904fe1cb97c6ae98196e"),
        ("Amazon Root CA 2", "400526000000Z", "1ba5b2aa8c65401a82960118f80bec4f62304d83cec4713a19c39c011ea46db4"),
        ("Amazon Root CA 3", "400526000000Z", "18ce6cfe7bf14e60b2e347b8dfe868cb31d02ebb3ada271569f50343b46db3a4"),
        ("Amazon Root CA 4", "400526000000Z", "e35d28419ed02025cfa69038cd623962458da5c695fbdea3c22b0bfb25897092"),
        (
            "Starfield Services Root Certificate Authority - G2",
            "371231235959Z",
            "568d6905a2c88708a4b3025190edcfedb1974a606a13c6e5290fcb2ae63edab5",
        ),
    ];

    fn amazon() -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_slice_iter(AMAZON).collect::<Result<_, _>>().unwrap()
    }

    #[test]
    fn the_roots_are_the_five_that_amazon_publishes() {
        let found = amazon();
        assert_eq!(found.len(), EXPECTED.len());
        for (certificate, (name, ends, fingerprint)) in found.iter().zip(EXPECTED) {
            let holds = |text: &str| certificate.windows(text.len()).any(|window| window == text.as_bytes());
            assert_eq!(hex::encode(Sha256::digest(certificate)), fingerprint, "{name}");
            assert!(holds(name) && holds(ends), "{name}");
            RootCertStore::empty().add(certificate.clone()).expect(name);
        }
    }

    /// Fails two years before the first of them ends, in time for a release.
    #[test]
    fn the_roots_last_for_two_more_years() {
        #[expect(clippy::disallowed_methods, reason = "the question is whether this test runs too late")]
        let in_two_years = jiff::Zoned::now().year() + 2;
        for (name, ends, _) in EXPECTED {
            let year: i16 = ends[..2].parse().unwrap();
            assert!(2000 + year > in_two_years, "{name} ends in 20{year}: is there a successor?");
        }
    }

    #[test]
    fn a_bundle_replaces_them_and_must_hold_a_certificate() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_string()
        };
        bundle(&file("amazon", AMAZON)).unwrap();
        bundle(&file("mixed", &[pem_of(&CertificateDer::from(vec![1, 2, 3])).as_bytes(), AMAZON].concat())).unwrap();
        for (name, text) in [("empty", ""), ("none", "-----BEGIN CERTIFICATE-----\nAQID\n-----END CERTIFICATE-----\n")]
        {
            let refused = bundle(&file(name, text.as_bytes())).unwrap_err().to_string();
            assert!(refused.ends_with("which holds no certificate"), "{refused}");
        }
        let refused = bundle("nowhere.pem").unwrap_err().to_string();
        assert!(refused.starts_with("AWS_CA_BUNDLE names nowhere.pem, which cannot be read"), "{refused}");
    }

    #[test]
    fn a_certificate_survives_being_written() {
        let written: String = amazon().iter().map(pem_of).collect();
        let read: Vec<_> = CertificateDer::pem_slice_iter(written.as_bytes()).collect::<Result<_, _>>().unwrap();
        assert_eq!(read, amazon());
    }
}
