//! The local cloud: one DynamoDB and one S3 on loopback, with everything they know in one folder.

use std::net::SocketAddr;
use std::path::Path;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_s3::config::{Credentials, SharedCredentialsProvider, SharedHttpClient};
use aws_sdk_s3::types::{
    BucketLocationConstraint, BucketVersioningStatus, CreateBucketConfiguration, VersioningConfiguration,
};
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_types::service_config::{LoadServiceConfig, ServiceConfigKey};
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::dynamodb::{self, DynamoDb};
use crate::error::{Error, Result};
use crate::s3::{self, Keep};
use crate::server::{self, Server};

/// The access key that the local S3 accepts. The local DynamoDB accepts any.
pub const ACCESS_KEY: &str = "AKIALOCALTIDEGATE";
/// The secret that goes with [`ACCESS_KEY`]. It guards nothing but loopback.
pub const SECRET_KEY: &str = "local-tidegate-secret";
/// The region that the local cloud pretends to be in.
pub const REGION: &str = "eu-west-1";

/// The loopback ports to listen on; 0 takes any free port.
///
/// Ports from 32768 to 60999 are a bad choice: the operating system gives them to outgoing connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ports {
    /// For DynamoDB.
    pub dynamodb: u16,
    /// For S3.
    pub s3: u16,
}

/// DynamoDB and S3 on loopback, until shut down or dropped.
pub struct LocalCloud {
    dynamodb: DynamoDb,
    s3: Server,
    // Last, so that it is removed after the servers have stopped.
    _folder: Option<TempDir>,
}

impl LocalCloud {
    /// A fresh cloud on free ports that leaves nothing behind: for tests and the demo.
    ///
    /// Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When there is no free port or no room for a temporary folder.
    pub fn temporary() -> Result<LocalCloud> {
        let folder = tempfile::Builder::new()
            .prefix("tidegate-cloud-")
            .tempdir()
            .map_err(|source| Error::Path { path: std::env::temp_dir(), source })?;
        let listeners = Listeners::bind(Ports::default())?;
        let database = dynamodb::in_memory()?;
        let storage = s3::Storage::open(folder.path(), Keep::WhileRunning)?;
        Ok(LocalCloud::serve(listeners, database, storage, Some(folder)))
    }

    /// The cloud whose data is in `folder`, which is made if need be. It survives a restart and a kill, but
    /// not a power cut: nothing is flushed to the disk, because a development tool had better be fast.
    ///
    /// Must be called inside a tokio runtime. One process at a time may have a folder open.
    ///
    /// # Errors
    /// When a port is taken or the folder cannot be used.
    pub fn open(folder: &Path, ports: Ports) -> Result<LocalCloud> {
        // Ports before data: a second process that was started by mistake ends here, having touched nothing.
        let listeners = Listeners::bind(ports)?;
        std::fs::create_dir_all(folder).map_err(|source| Error::Path { path: folder.to_owned(), source })?;
        let database = dynamodb::on_disk(&folder.join("dynamodb.sqlite"))?;
        let storage = s3::Storage::open(folder, Keep::OnDisk)?;
        Ok(LocalCloud::serve(listeners, database, storage, None))
    }

    fn serve(
        listeners: Listeners,
        database: dynoxide::Database,
        storage: s3::Storage,
        folder: Option<TempDir>,
    ) -> LocalCloud {
        let (dynamodb, dynamodb_address) = listeners.dynamodb;
        let (s3, s3_address) = listeners.s3;
        LocalCloud {
            dynamodb: DynamoDb::serve(dynamodb, dynamodb_address, database),
            s3: Server::serve(s3, s3_address, s3::service(storage, ACCESS_KEY, SECRET_KEY)),
            _folder: folder,
        }
    }

    /// Where DynamoDB is: `http://127.0.0.1:<port>`.
    pub fn dynamodb_url(&self) -> String {
        self.dynamodb.url()
    }

    /// Where S3 is: `http://127.0.0.1:<port>`. The IP address makes the SDK choose path-style requests.
    pub fn s3_url(&self) -> String {
        self.s3.url()
    }

    /// What an AWS SDK client needs to talk to this cloud. It reads no environment and no profile, so tests
    /// can run side by side on any machine. Async because its counterpart, `aws_config::load`, is.
    pub async fn sdk_config(&self) -> SdkConfig {
        self.config()
    }

    /// A DynamoDB client for this cloud.
    pub fn dynamodb(&self) -> aws_sdk_dynamodb::Client {
        aws_sdk_dynamodb::Client::new(&self.config())
    }

    /// An S3 client for this cloud.
    pub fn s3(&self) -> aws_sdk_s3::Client {
        aws_sdk_s3::Client::new(&self.config())
    }

    /// The environment variables that point another process at this cloud, such as `cargo lambda watch`.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET_KEY.to_owned()),
            ("AWS_REGION", REGION.to_owned()),
            ("AWS_ENDPOINT_URL_DYNAMODB", self.dynamodb_url()),
            ("AWS_ENDPOINT_URL_S3", self.s3_url()),
        ]
    }

    /// Makes sure that there is a bucket called `name`, and that it keeps every version of its objects.
    ///
    /// # Errors
    /// When S3 refuses the name.
    pub async fn create_bucket(&self, name: &str) -> Result<()> {
        let refused = |reason: String| Error::Bucket { name: name.to_owned(), reason };
        let s3 = self.s3();
        let here = CreateBucketConfiguration::builder().location_constraint(BucketLocationConstraint::from(REGION));
        let created = s3.create_bucket().bucket(name).create_bucket_configuration(here.build()).send().await;
        if let Err(error) = created {
            let error = error.into_service_error();
            if !error.is_bucket_already_owned_by_you() {
                return Err(refused(error.to_string()));
            }
        }
        let versioned = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
        let enabled = s3.put_bucket_versioning().bucket(name).versioning_configuration(versioned).send().await;
        enabled.map_err(|error| refused(error.into_service_error().to_string()))?;
        Ok(())
    }

    /// Lets the requests under way finish and stops both services. Dropping stops them at once.
    pub async fn shutdown(self) {
        tokio::join!(self.dynamodb.shutdown(), self.s3.shutdown());
    }

    fn config(&self) -> SdkConfig {
        let credentials = Credentials::new(ACCESS_KEY, SECRET_KEY, None, None, "tidegate-local-cloud");
        SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(REGION))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .http_client(without_trust())
            .service_config(Endpoints { dynamodb: self.dynamodb_url(), s3: self.s3_url() })
            .build()
    }
}

/// A client for loopback, where nothing is encrypted: it believes no certificate.
fn without_trust() -> SharedHttpClient {
    let tls = TlsContext::builder().with_trust_store(TrustStore::empty()).build();
    let tls = tls.expect("there is no certificate that could be wrong");
    Builder::new().tls_provider(Provider::rustls(CryptoMode::Ring)).tls_context(tls).build_https()
}

/// The ports, taken but not yet answering.
struct Listeners {
    dynamodb: (TcpListener, SocketAddr),
    s3: (TcpListener, SocketAddr),
}

impl Listeners {
    fn bind(ports: Ports) -> Result<Listeners> {
        Ok(Listeners {
            dynamodb: server::listen(ports.dynamodb, "the local DynamoDB")?,
            s3: server::listen(ports.s3, "the local S3")?,
        })
    }
}

/// Where each service is, in the form in which every SDK client asks for it.
#[derive(Debug)]
struct Endpoints {
    dynamodb: String,
    s3: String,
}

impl LoadServiceConfig for Endpoints {
    fn load_config(&self, key: ServiceConfigKey<'_>) -> Option<String> {
        match (key.service_id(), key.env()) {
            ("DynamoDB", "AWS_ENDPOINT_URL") => Some(self.dynamodb.clone()),
            ("S3", "AWS_ENDPOINT_URL") => Some(self.s3.clone()),
            _ => None,
        }
    }
}
