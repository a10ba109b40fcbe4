//! The whole service in this process: the local cloud, the four functions and the front door.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lambda_http::{Body, Request, Response};
use tidegate_cloud::{Backend, FrontDoor, LocalCloud, OperatorKey};
use tidegate_engine::SweepService;
use tidegate_engine::token::TokenKeys;
use tidegate_http::{CheckService, PublishService, ReportService, edge, router};
use tidegate_store::settings::Settings;
use tidegate_store::{DynamoStore, Images, schema};
use tidegate_wire::route::Function;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// The table and the bucket of the local cloud.
pub const TABLE: &str = "tidegate";
/// See [`TABLE`].
pub const BUCKET: &str = "tidegate-images";
/// How often the local cloud sweeps, as the deployed schedule does.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// The four functions, over one store.
#[derive(Debug)]
pub struct Services {
    /// A device checks in.
    pub check: CheckService<DynamoStore>,
    /// A device reports.
    pub report: ReportService<DynamoStore>,
    /// An operator publishes.
    pub publish: PublishService<DynamoStore>,
    /// Time passes.
    pub sweep: SweepService<DynamoStore>,
}

impl Services {
    /// The functions over a store, with a catalog that is at most `catalog_age_ms` old.
    #[must_use]
    pub fn new(store: DynamoStore, images: Images, keys: TokenKeys, catalog_age_ms: i64) -> Self {
        Self {
            check: CheckService::new(store.clone(), images.clone(), keys.clone(), catalog_age_ms),
            report: ReportService::new(store.clone(), keys.clone()),
            publish: PublishService::new(store.clone(), images, keys),
            sweep: SweepService::new(store),
        }
    }
}

/// The routes of the deployed HTTP API.
impl Backend for Services {
    async fn call(&self, request: Request) -> Response<Body> {
        let now = edge::now();
        let function = match router::find(&request) {
            Ok(found) => found.route.function,
            Err(no_route) => match no_route.function() {
                Some(function) => function,
                None => return router::answer_no_route(&request, &no_route),
            },
        };
        match function {
            Function::Check => self.check.handle(request, now).await,
            Function::Report => self.report.handle(request, now).await,
            Function::Publish => self.publish.handle(request, now).await,
        }
    }
}

/// The service, running.
pub struct Stack {
    /// The functions.
    pub services: Arc<Services>,
    /// DynamoDB and S3.
    pub cloud: LocalCloud,
    /// The front door.
    pub door: FrontDoor,
    /// What opens operator routes.
    pub operator_key: OperatorKey,
    sweeper: JoinHandle<()>,
}

/// What a stack is made of.
pub struct Parts {
    /// DynamoDB and S3.
    pub cloud: LocalCloud,
    /// Where the front door listens.
    pub listener: TcpListener,
    /// What opens operator routes.
    pub operator_key: OperatorKey,
    /// What signs device tokens.
    pub token_keys: TokenKeys,
    /// How old a catalog may be.
    pub catalog_age_ms: i64,
}

impl Stack {
    /// Everything in memory and temporary folders, on free ports.
    ///
    /// # Errors
    /// A sentence, when the machine does not let us.
    pub async fn temporary(catalog_age_ms: i64) -> Result<Self, String> {
        let cloud = LocalCloud::temporary().map_err(|error| error.to_string())?;
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(|error| format!("cannot listen: {error}"))?;
        let token_keys = TokenKeys::parse(&new_token_keys()?)?;
        let operator_key = OperatorKey::generate();
        Self::start(Parts { cloud, listener, operator_key, token_keys, catalog_age_ms }).await
    }

    /// Creates what is missing, and opens the door.
    ///
    /// # Errors
    /// A sentence that names what could not be started.
    pub async fn start(parts: Parts) -> Result<Self, String> {
        let Parts { cloud, listener, operator_key, token_keys, catalog_age_ms } = parts;
        schema::create_table(&cloud.dynamodb(), TABLE).await.map_err(|error| error.to_string())?;
        cloud.create_bucket(BUCKET).await.map_err(|error| error.to_string())?;
        let settings = Settings { table: TABLE.into(), bucket: BUCKET.into() };
        let (store, images) = settings.open(&cloud.sdk_config().await).await.map_err(|error| error.to_string())?;
        let services = Arc::new(Services::new(store, images, token_keys, catalog_age_ms));
        let door = FrontDoor::serve(listener, operator_key.clone(), services.clone());
        let sweeper = tokio::spawn(sweep_for_ever(services.clone()));
        Ok(Self { services, cloud, door, operator_key, sweeper })
    }

    /// Stops everything.
    pub async fn shutdown(self) {
        self.sweeper.abort();
        self.door.shutdown().await;
        self.cloud.shutdown().await;
    }
}

async fn sweep_for_ever(services: Arc<Services>) {
    let mut ticks = tokio::time::interval(SWEEP_EVERY);
    loop {
        ticks.tick().await;
        if let Err(error) = services.sweep.sweep(edge::now()).await {
            tracing::error!(%error, "sweep_failed");
        }
    }
}

/// Fresh secrets for device tokens, as `TIDEGATE_TOKEN_KEYS` holds them.
///
/// # Errors
/// When the machine has no randomness.
pub fn new_token_keys() -> Result<String, String> {
    let mut secret = [0_u8; 32];
    getrandom::fill(&mut secret).map_err(|error| format!("the machine gives no random bytes: {error}"))?;
    Ok(format!("local:{}", URL_SAFE_NO_PAD.encode(secret)))
}

/// The secrets in `file`, drawn when it does not exist. Only its owner may read it.
///
/// # Errors
/// A sentence that names the file.
pub fn load_or_create_token_keys(file: &Path) -> Result<String, String> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    if let Ok(text) = std::fs::read_to_string(file) {
        return Ok(text.trim().to_string());
    }
    let keys = new_token_keys()?;
    let created = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    created
        .and_then(|mut created| writeln!(created, "{keys}"))
        .map_err(|error| format!("cannot write {}: {error}", file.display()))?;
    Ok(keys)
}
