//! One request after the other: what it meets, and what it is answered.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tidegate_cloud::{DynamoDbAnswer, InProcessDynamoDb};
use tokio::time::Instant;

use super::copies::{LaggingCopy, Rehearsal};
use super::draws::Draws;
use super::holds::Holds;
use super::partitions::Buckets;
use super::refusals;
use super::request::{Effect, Request, Tables};
use super::units::Units;
use super::{Kind, Trouble};

/// A late duplicate comes at most this many calls after its original.
const DUPLICATE_WITHIN_CALLS: u64 = 100;

/// All that stands between the SDK and the database.
pub(super) struct Play {
    pub(super) dynamodb: InProcessDynamoDb,
    pub(super) trouble: Trouble,
    pub(super) draws: Draws,
    pub(super) tables: Tables,
    pub(super) holds: Holds,
    pub(super) write_buckets: Buckets,
    pub(super) read_buckets: Buckets,
    pub(super) rehearsal: Option<Rehearsal>,
    pub(super) lagging: Option<LaggingCopy>,
    pub(super) between_pages: VecDeque<Request>,
    pub(super) units: Units,
    pub(super) played: BTreeMap<Kind, u64>,
    pub(super) start: Instant,
    calls: u64,
    /// Writes that are applied once more, with the number of the call that they come before.
    late: Vec<(u64, Request)>,
}

/// What happens to a request and its answer on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OnTheWire {
    /// Both arrive.
    Arrives,
    /// The request is lost.
    RequestLost,
    /// The answer is lost.
    AnswerLost,
    /// DynamoDB fails before it does anything.
    FailsBefore,
    /// DynamoDB fails when all is done.
    FailsAfter,
}

/// Answer, and the time for which DynamoDB is at work on it.
pub(super) struct Reply {
    pub(super) answer: DynamoDbAnswer,
    pub(super) after: Duration,
}

impl Reply {
    /// An answer that is given at once.
    pub(super) fn at_once(answer: DynamoDbAnswer) -> Self {
        Self { answer, after: Duration::ZERO }
    }
}

impl Play {
    /// A play that begins now.
    pub(super) fn new(dynamodb: InProcessDynamoDb, trouble: Trouble) -> Self {
        Self {
            tables: Tables::new(dynamodb.clone()),
            dynamodb,
            draws: Draws::new(trouble.seed),
            trouble,
            holds: Holds::default(),
            write_buckets: Buckets::default(),
            read_buckets: Buckets::default(),
            rehearsal: None,
            lagging: None,
            between_pages: VecDeque::new(),
            units: Units::default(),
            played: BTreeMap::new(),
            start: Instant::now(),
            calls: 0,
            late: Vec::new(),
        }
    }

    /// Goes on with other trouble, from its seed. What is held, what is counted and what comes late stays.
    pub(super) fn change(&mut self, trouble: Trouble) {
        self.draws = Draws::new(trouble.seed);
        self.lagging = None;
        self.trouble = trouble;
    }

    /// Counts trouble that was played.
    pub(super) fn note(&mut self, kind: Kind) {
        *self.played.entry(kind).or_default() += 1;
    }

    /// Time of one way on the wire.
    pub(super) fn way(&mut self) -> Duration {
        self.draws.about(self.trouble.latency / 2)
    }

    /// What happens to the next request on the wire.
    pub(super) fn on_the_wire(&mut self) -> OnTheWire {
        if self.draws.happens(self.trouble.lost_request_chance) {
            self.note(Kind::LostRequest);
            return OnTheWire::RequestLost;
        }
        if self.draws.happens(self.trouble.lost_answer_chance) {
            self.note(Kind::LostAnswer);
            return OnTheWire::AnswerLost;
        }
        if self.draws.happens(self.trouble.server_error_chance) {
            self.note(Kind::ServerError);
            return if self.draws.happens(0.5) { OnTheWire::FailsBefore } else { OnTheWire::FailsAfter };
        }
        OnTheWire::Arrives
    }

    /// Answers a request that has arrived.
    pub(super) fn answer(&mut self, request: &Request, now: Instant) -> Reply {
        self.calls += 1;
        let (due, late) = std::mem::take(&mut self.late).into_iter().partition(|(call, _)| *call <= self.calls);
        self.late = late;
        self.apply_again(due, now);
        let is_write = matches!(request.effect(), Effect::Write | Effect::WriteTogether);
        if is_write && self.draws.happens(self.trouble.late_duplicate_chance) {
            let call = self.calls + self.draws.up_to(DUPLICATE_WITHIN_CALLS);
            self.late.push((call, request.without_token()));
        }
        self.apply(request, now)
    }

    /// Applies all late duplicates that have not come yet.
    pub(super) fn finish(&mut self, now: Instant) {
        let late = std::mem::take(&mut self.late);
        self.apply_again(late, now);
    }

    fn apply_again(&mut self, mut duplicates: Vec<(u64, Request)>, now: Instant) {
        duplicates.sort_by_key(|(call, _)| *call);
        for (_, duplicate) in duplicates {
            self.note(Kind::LateDuplicate);
            self.apply(&duplicate, now);
        }
    }

    fn apply(&mut self, request: &Request, now: Instant) -> Reply {
        match request.effect() {
            Effect::Read | Effect::ReadTogether => Reply::at_once(self.read(request, now)),
            Effect::Write if request.operation == "BatchWriteItem" => Reply::at_once(self.write_batch(request, now)),
            Effect::Write => Reply::at_once(self.write_one(request, now)),
            Effect::WriteTogether => self.write_together(request, now),
            Effect::Other => {
                self.tables.forget();
                Reply::at_once(self.send(request))
            }
        }
    }

    /// Asks the database.
    pub(super) fn send(&self, request: &Request) -> DynamoDbAnswer {
        self.dynamodb.answer(&request.operation, &request.body.to_string())
    }

    /// The refusal of a request whose partition has too much to do.
    pub(super) fn throttled(&mut self) -> DynamoDbAnswer {
        self.note(Kind::Throttled);
        refusals::throttled(self.trouble.partition_limits.unwrap_or_default().billing)
    }
}
