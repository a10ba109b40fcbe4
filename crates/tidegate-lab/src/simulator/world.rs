//! The world: several copies of each of the five functions, side by side on one thread.
//!
//! A handler runs until its next store call and then waits for its turn. So the order of the turns is the order of all
//! events. The monotonic clock of the functions, which is tokio's, goes as the true time does.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use lambda_http::Request;
use tidegate_core::Timestamp;
use tidegate_engine::count::{CountService, Counted};
use tidegate_engine::sweep::Swept;
use tidegate_engine::token::TokenKeys;
use tidegate_engine::{SweepService, control};
use tidegate_http::CheckService;
use tidegate_http::PublishService;
use tidegate_http::ReportService;
use tidegate_http::check_service::CATALOG_AGE_MS;
use tidegate_store::StoreError;
use tidegate_store::stream::Batch;

use crate::simulator::bucket::Bucket;
use crate::simulator::control::Waiting;
use crate::simulator::faulty::FaultyStore;
use crate::simulator::requests::Answer;

/// A time after which a handler that sleeps is looked at again, when nothing else happens, in milliseconds.
const NAP_MS: i64 = 50;

/// Times that the functions keep.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// The age of a head up to which it is used, in milliseconds.
    pub head_age_ms: i64,
    /// The time after which a stop is acknowledged.
    pub acknowledged_after: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self { head_age_ms: CATALOG_AGE_MS, acknowledged_after: control::ACKNOWLEDGED_AFTER }
    }
}

/// A request to one of the functions.
#[derive(Debug)]
pub enum Ask {
    /// `check`.
    Check(Request),
    /// `report`.
    Report(Request),
    /// `publish`.
    Operate(Request),
    /// `sweep`.
    Sweep,
    /// `count`.
    Count(Batch),
}

/// The end of a request.
#[derive(Debug)]
pub enum Done {
    /// With an answer.
    Answered(Answer),
    /// With a sweep.
    Swept(Result<Swept, StoreError>),
    /// With a batch that was counted.
    Counted(Result<Counted, StoreError>),
    /// With an answer that is not JSON.
    Unreadable(String),
    /// The function was killed and gave no answer.
    Killed,
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered(answer) => f.write_str(&answer.brief()),
            Self::Swept(Ok(swept)) => write!(
                f,
                "lost {} completed {} repaired {} split {} failed {}",
                swept.lost, swept.completed, swept.repaired, swept.split_again, swept.failed
            ),
            Self::Swept(Err(error)) => write!(f, "sweep: {error}"),
            Self::Counted(Ok(counted)) => write!(f, "counted {} held {}", counted.counted, counted.held),
            Self::Counted(Err(error)) => write!(f, "count: {error}"),
            Self::Unreadable(why) => f.write_str(why),
            Self::Killed => f.write_str("no answer"),
        }
    }
}

/// One copy of each function, with caches and a clock of its own.
#[derive(Debug)]
struct Instance {
    check: CheckService<FaultyStore>,
    report: ReportService<FaultyStore>,
    publish: PublishService<FaultyStore>,
    sweep: SweepService<FaultyStore>,
    count: CountService<FaultyStore>,
    skew_ms: i64,
}

struct Running {
    id: u64,
    handler: Pin<Box<dyn Future<Output = Done>>>,
    /// A slow call blocks it until then.
    until_ms: i64,
    sleeps: bool,
}

/// The functions over one store.
pub struct World {
    store: FaultyStore,
    timing: Timing,
    bucket: Bucket,
    keys: TokenKeys,
    instances: Vec<Arc<Instance>>,
    running: Vec<Running>,
    next_id: u64,
    now_ms: i64,
    /// Milliseconds by which the monotonic clock is behind.
    behind_ms: i64,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World")
            .field("now_ms", &self.now_ms)
            .field("running", &self.running.len())
            .finish_non_exhaustive()
    }
}

impl World {
    /// A world with no function in it yet.
    ///
    /// # Panics
    /// Never: the token key is a constant in the right format.
    #[must_use]
    pub fn new(store: FaultyStore, timing: Timing, now_ms: i64) -> Self {
        let keys = TokenKeys::parse("sim:c2ltdWxhdGVkLXNpbXVsYXRlZC1zaW11bGF0ZWQtc2ltdWxhdGVk");
        Self {
            store,
            timing,
            bucket: Bucket::default(),
            keys: keys.expect("the key is in the right format"),
            instances: Vec::new(),
            running: Vec::new(),
            next_id: 0,
            now_ms,
            behind_ms: 0,
        }
    }

    /// Starts a copy of the functions whose clock is off by `skew_ms`; its place in the list.
    pub fn add_instance(&mut self, skew_ms: i64) -> usize {
        self.instances.push(self.instance(skew_ms));
        self.instances.len().saturating_sub(1)
    }

    /// Replaces a copy of the functions by a cold one.
    pub fn restart(&mut self, place: usize, skew_ms: i64) {
        let fresh = self.instance(skew_ms);
        if let Some(instance) = self.instances.get_mut(place) {
            *instance = fresh;
        }
    }

    fn instance(&self, skew_ms: i64) -> Arc<Instance> {
        let (store, images, keys) = (&self.store, self.bucket.images(), &self.keys);
        Arc::new(Instance {
            check: CheckService::new(store.clone(), images.clone(), keys.clone(), self.timing.head_age_ms),
            report: ReportService::new(store.clone(), keys.clone()),
            publish: PublishService::new(store.clone(), images.clone(), keys.clone())
                .acknowledging_after(self.timing.acknowledged_after),
            sweep: SweepService::new(store.clone()),
            count: CountService::new(store.clone()),
            skew_ms,
        })
    }

    /// The store below.
    #[must_use]
    pub fn store(&self) -> &FaultyStore {
        &self.store
    }

    /// The bucket of the images.
    #[must_use]
    pub fn bucket(&self) -> &Bucket {
        &self.bucket
    }

    /// The keys that sign tokens.
    #[must_use]
    pub fn keys(&self) -> &TokenKeys {
        &self.keys
    }

    /// Number of copies of the functions.
    #[must_use]
    pub fn instances(&self) -> usize {
        self.instances.len()
    }

    /// Number of handlers that are under way.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.running.len()
    }

    /// The true time, in milliseconds since 1970.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        self.now_ms
    }

    /// Lets time pass.
    pub fn pass(&mut self, ms: i64) {
        self.now_ms = self.now_ms.saturating_add(ms);
        self.behind_ms = self.behind_ms.saturating_add(ms);
        self.store.set_now(moment(self.now_ms));
    }

    /// The clock of a copy of the functions.
    #[must_use]
    pub fn clock(&self, place: usize) -> Timestamp {
        let skew_ms = self.instances.get(place).map_or(0, |instance| instance.skew_ms);
        moment(self.now_ms.saturating_add(skew_ms))
    }

    /// Starts a handler; its number.
    ///
    /// # Panics
    /// When there is no such copy of the functions.
    pub fn start(&mut self, place: usize, ask: Ask) -> u64 {
        let now = self.clock(place);
        let instance = Arc::clone(self.instances.get(place).expect("the caller names a copy that it started"));
        let handler: Pin<Box<dyn Future<Output = Done>>> = match ask {
            Ask::Check(request) => Box::pin(async move { answered(&instance.check.handle(request, now).await) }),
            Ask::Report(request) => Box::pin(async move { answered(&instance.report.handle(request, now).await) }),
            Ask::Operate(request) => Box::pin(async move { answered(&instance.publish.handle(request, now).await) }),
            Ask::Sweep => Box::pin(async move { Done::Swept(instance.sweep.sweep(now).await) }),
            Ask::Count(batch) => Box::pin(async move { Done::Counted(instance.count.count(&batch, now).await) }),
        };
        let id = self.next_id;
        self.next_id += 1;
        self.running.push(Running { id, handler, until_ms: i64::MIN, sleeps: false });
        id
    }

    /// Lets one handler go on to its next store call; its number and how it ended, if it did.
    pub async fn step(&mut self, place: usize) -> Option<(u64, Done)> {
        let now_ms = self.now_ms;
        let until_ms = self.running.get(place)?.until_ms;
        if until_ms > now_ms {
            if self.running.len() > 1 {
                return None;
            }
            // No other handler can run first.
            self.pass(until_ms.saturating_sub(now_ms));
        }
        if self.running.get(place)?.sleeps && self.running.iter().all(|running| running.sleeps) {
            self.pass(NAP_MS);
        }
        let behind_ms = u64::try_from(std::mem::take(&mut self.behind_ms)).unwrap_or(0);
        if behind_ms > 0 {
            tokio::time::advance(Duration::from_millis(behind_ms)).await;
        }
        let now_ms = self.now_ms;
        let running = self.running.get_mut(place)?;
        self.store.control().waiting = Waiting::Clock;
        let polled = running.handler.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        let waiting = self.store.control().waiting;
        let done = match (polled, waiting) {
            (Poll::Ready(done), _) => done,
            (Poll::Pending, Waiting::Killed) => Done::Killed,
            (Poll::Pending, Waiting::Slow(ms)) => {
                running.until_ms = now_ms.saturating_add(ms);
                running.sleeps = false;
                return None;
            }
            (Poll::Pending, waiting) => {
                running.sleeps = waiting == Waiting::Clock;
                return None;
            }
        };
        let running = self.running.swap_remove(place);
        Some((running.id, done))
    }

    /// Runs one handler from its start to its end, while nothing else happens.
    pub async fn finish(&mut self, place: usize, ask: Ask) -> Done {
        let id = self.start(place, ask);
        loop {
            let last = self.running.len().saturating_sub(1);
            let place = self.running.iter().position(|running| running.id == id).unwrap_or(last);
            if let Some((_, done)) = self.step(place).await {
                return done;
            }
        }
    }
}

fn answered(response: &lambda_http::Response<lambda_http::Body>) -> Done {
    match Answer::read(response) {
        Ok(answer) => Done::Answered(answer),
        Err(error) => Done::Unreadable(error.to_string()),
    }
}

/// A moment from milliseconds since 1970.
#[must_use]
pub fn moment(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MAX)
}
