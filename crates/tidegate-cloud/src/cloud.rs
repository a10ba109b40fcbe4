//! The local cloud: one DynamoDB and one S3 on loopback, with all their data in one folder.

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
use crate::error::{Error, Result, Source};
use crate::in_process::InProcessDynamoDb;
use crate::s3::{self, Keep};
use crate::server::{self, Server};
use crate::stream::TableStream;

/// The access key that the local S3 accepts. The local DynamoDB accepts any.
pub const ACCESS_KEY: &str = "AKIALOCALTIDEGATE";
/// The secret of [`ACCESS_KEY`]. It protects nothing but loopback.
pub const SECRET_KEY: &str = "local-tidegate-secret";
/// The region of the local cloud.
pub const REGION: &str = "eu-west-1";

/// Loopback ports to listen on; 0 means any free port.
///
/// Do not choose ports from 32768 to 60999: the operating system gives them to outgoing connections.
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
    in_process: InProcessDynamoDb,
    s3: Server,
    // The last field: it is dropped, and the folder deleted, after the servers have stopped.
    _folder: Option<TempDir>,
}

impl LocalCloud {
    /// An empty cloud on free ports, for tests and the demo. Its folder is deleted at the end.
    ///
    /// Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When there is no free port or no temporary folder can be made.
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

    /// A cloud with its data in `folder`, which is created if it does not exist. The data survives a restart
    /// and a killed process, but not a power cut: nothing is flushed to the disk, for speed.
    ///
    /// Must be called inside a tokio runtime. Only one process at a time may use a folder.
    ///
    /// # Errors
    /// When a port is taken or the folder cannot be used.
    pub fn open(folder: &Path, ports: Ports) -> Result<LocalCloud> {
        // Ports before data: a second process that was started by mistake fails here and changes nothing.
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
            in_process: InProcessDynamoDb::over(database.clone()),
            dynamodb: DynamoDb::serve(dynamodb, dynamodb_address, database),
            s3: Server::serve(s3, s3_address, s3::service(storage, ACCESS_KEY, SECRET_KEY)),
            _folder: folder,
        }
    }

    /// The URL of DynamoDB: `http://127.0.0.1:<port>`.
    pub fn dynamodb_url(&self) -> String {
        self.dynamodb.url()
    }

    /// The URL of S3: `http://127.0.0.1:<port>`. Because of the IP address the SDK sends path-style requests.
    pub fn s3_url(&self) -> String {
        self.s3.url()
    }

    /// The configuration of an AWS SDK client for this cloud. It reads no environment and no profile, so tests
    /// can run in parallel on any machine. It is async like its counterpart, `aws_config::load`.
    pub async fn sdk_config(&self) -> SdkConfig {
        self.config()
    }

    /// A DynamoDB client for this cloud.
    pub fn dynamodb(&self) -> aws_sdk_dynamodb::Client {
        aws_sdk_dynamodb::Client::new(&self.config())
    }

    /// The same DynamoDB without its socket.
    pub fn in_process(&self) -> InProcessDynamoDb {
        self.in_process.clone()
    }

    /// The stream of `table`, from the oldest record that is kept.
    ///
    /// # Errors
    /// When the table has no stream.
    pub fn table_stream(&self, table: &str) -> Result<TableStream> {
        self.in_process.table_stream(table)
    }

    /// An S3 client for this cloud.
    pub fn s3(&self) -> aws_sdk_s3::Client {
        aws_sdk_s3::Client::new(&self.config())
    }

    /// Environment variables that connect another process, such as `cargo lambda watch`, to this cloud.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET_KEY.to_owned()),
            ("AWS_REGION", REGION.to_owned()),
            ("AWS_ENDPOINT_URL_DYNAMODB", self.dynamodb_url()),
            ("AWS_ENDPOINT_URL_S3", self.s3_url()),
        ]
    }

    /// Creates the bucket `name` if it does not exist, and makes it keep every version of its objects.
    ///
    /// # Errors
    /// When S3 refuses the name.
    pub async fn create_bucket(&self, name: &str) -> Result<()> {
        let refused = |source: Source| Error::Bucket { name: name.to_owned(), source };
        let s3 = self.s3();
        let here = CreateBucketConfiguration::builder().location_constraint(BucketLocationConstraint::from(REGION));
        let created = s3.create_bucket().bucket(name).create_bucket_configuration(here.build()).send().await;
        if let Err(error) = created {
            let error = error.into_service_error();
            if !error.is_bucket_already_owned_by_you() {
                return Err(refused(error.into()));
            }
        }
        let versioned = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
        let enabled = s3.put_bucket_versioning().bucket(name).versioning_configuration(versioned).send().await;
        enabled.map_err(|error| refused(error.into_service_error().into()))?;
        Ok(())
    }

    /// Lets open requests finish and stops both services. Dropping stops them at once.
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

/// A client for loopback, where nothing is encrypted: it trusts no certificate.
fn without_trust() -> SharedHttpClient {
    let tls = TlsContext::builder().with_trust_store(TrustStore::empty()).build();
    let tls = tls.expect("there is no certificate that could be wrong");
    Builder::new().tls_provider(Provider::rustls(CryptoMode::Ring)).tls_context(tls).build_https()
}

/// Ports that are taken but do not answer yet.
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

/// The URL of each service, in the form that SDK clients ask for.
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
