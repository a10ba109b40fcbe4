//! The world: several copies of each of the four functions, side by side on one thread.
//!
//! A handler runs until its next store call and then waits for its turn. So the order of the turns is the order of all
//! events.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use lambda_http::Request;
use tidegate_core::Timestamp;
use tidegate_engine::SweepService;
use tidegate_engine::sweep::Swept;
use tidegate_engine::token::TokenKeys;
use tidegate_http::CheckService;
use tidegate_http::PublishService;
use tidegate_http::ReportService;
use tidegate_http::check_service::CATALOG_AGE_MS;
use tidegate_store::{CheckStore, Images, PublishStore, ReportStore, StoreError, SweepStore};

use crate::simulator::control::Waiting;
use crate::simulator::faulty::FaultyStore;
use crate::simulator::requests::{self, Answer};

/// Time that a slow call takes.
pub const SLOW_MS: i64 = 3000;
/// Longer than any single pause of a busy check-in.
const PAUSE: Duration = Duration::from_millis(700);

/// Everything a store can do.
pub trait AnyStore: CheckStore + ReportStore + PublishStore + SweepStore + Clone {}

impl<S: CheckStore + ReportStore + PublishStore + SweepStore + Clone> AnyStore for S {}

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
}

/// The end of a request.
#[derive(Debug)]
pub enum Done {
    /// With an answer.
    Answered(Answer),
    /// With a sweep.
    Swept(Result<Swept, StoreError>),
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
                "expired {} completed {} repaired {} split {} failed {}",
                swept.expired, swept.completed, swept.repaired, swept.split_again, swept.failed
            ),
            Self::Swept(Err(error)) => write!(f, "sweep: {error}"),
            Self::Unreadable(why) => f.write_str(why),
            Self::Killed => f.write_str("no answer"),
        }
    }
}

/// One copy of each function, with caches and a clock of its own.
#[derive(Debug)]
struct Instance<S> {
    check: CheckService<FaultyStore<S>>,
    report: ReportService<FaultyStore<S>>,
    publish: PublishService<FaultyStore<S>>,
    sweep: SweepService<FaultyStore<S>>,
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
pub struct World<S> {
    store: FaultyStore<S>,
    images: Images,
    keys: TokenKeys,
    instances: Vec<Arc<Instance<S>>>,
    running: Vec<Running>,
    next_id: u64,
    now_ms: i64,
}

impl<S> fmt::Debug for World<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World")
            .field("now_ms", &self.now_ms)
            .field("running", &self.running.len())
            .finish_non_exhaustive()
    }
}

impl<S: AnyStore> World<S> {
    /// A world with no function in it yet.
    ///
    /// # Panics
    /// Never: the token key is a constant in the right format.
    #[must_use]
    pub fn new(store: FaultyStore<S>, now_ms: i64) -> Self {
        let keys = TokenKeys::parse("sim:c2ltdWxhdGVkLXNpbXVsYXRlZC1zaW11bGF0ZWQtc2ltdWxhdGVk");
        Self {
            store,
            images: requests::images(),
            keys: keys.expect("the key is in the right format"),
            instances: Vec::new(),
            running: Vec::new(),
            next_id: 0,
            now_ms,
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

    fn instance(&self, skew_ms: i64) -> Arc<Instance<S>> {
        let (store, images, keys) = (&self.store, &self.images, &self.keys);
        Arc::new(Instance {
            check: CheckService::new(store.clone(), images.clone(), keys.clone(), CATALOG_AGE_MS),
            report: ReportService::new(store.clone(), keys.clone()),
            publish: PublishService::new(store.clone(), images.clone(), keys.clone()),
            sweep: SweepService::new(store.clone()),
            skew_ms,
        })
    }

    /// The store below.
    #[must_use]
    pub fn store(&self) -> &FaultyStore<S> {
        &self.store
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
        self.store.control().now = moment(self.now_ms);
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
        let running = self.running.get_mut(place)?;
        if running.sleeps {
            tokio::time::advance(PAUSE).await;
        }
        self.store.control().waiting = Waiting::Clock;
        let polled = running.handler.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        let waiting = self.store.control().waiting;
        let done = match (polled, waiting) {
            (Poll::Ready(done), _) => done,
            (Poll::Pending, Waiting::Killed) => Done::Killed,
            (Poll::Pending, Waiting::Slow) => {
                running.until_ms = now_ms.saturating_add(SLOW_MS);
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
