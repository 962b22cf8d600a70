//! When a message that waits may be delivered, whatever is done to the machine's clock.
//!
//! A message says by the machine's clock from when on it may be delivered. Where that clock is set back,
//! the time lies further ahead than was ever meant. So a lane that sees a message wait also counts by a
//! clock that nobody sets, and holds it for no longer than it was meant to be held: after a failure the
//! pause of that failure, else what the sender asked for. It counts from when it first sees the message,
//! after a restart anew.
//!
//! Messages are in the order of the machine's clock, and a lane looks at the first few. Once the clock was
//! set back, one that was sent before has a place behind what was sent since, held back or not; so a lane
//! looks at all that wait, until none of them lies further ahead than it may.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use canopy_ids::MessageId;
use canopy_runtime::MessageSettings;
use canopy_runtime::queue::Message;

/// Two clocks go apart by so much without anybody's doing.
const SLACK: Duration = Duration::from_secs(1);

/// What both clocks show: the machine's, in milliseconds since 1970, and one that nobody sets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    pub(crate) wall: u64,
    pub(crate) steady: Instant,
}

/// The messages that one lane has seen wait: after which failure, and until when at most. No more
/// than wait in one queue.
pub(crate) struct Waits {
    latest: HashMap<MessageId, (u32, Instant)>,
    last: Option<Moment>,
    /// Whether the clock was set back, so that one may be due that lies behind others.
    set_back: bool,
    /// Whether a message of this look lies further ahead than it may.
    astray: bool,
}

impl Default for Waits {
    /// Of a lane that begins: whether the clock was set back before, nobody has told it.
    fn default() -> Self {
        Self {
            latest: HashMap::new(),
            last: None,
            set_back: true,
            astray: false,
        }
    }
}

impl Waits {
    /// A look at the queue begins.
    pub(crate) fn begin(&mut self, now: Moment) {
        if let Some(last) = self.last.replace(now) {
            let passed = now.steady.saturating_duration_since(last.steady) + SLACK;
            let shown = last.wall.saturating_sub(now.wall);
            self.set_back |= Duration::from_millis(shown) > SLACK
                || Duration::from_millis(now.wall.saturating_sub(last.wall)) + 2 * SLACK < passed;
        }
        self.astray = false;
    }

    /// Whether the look must go on to the last message.
    pub(crate) fn looks_at_all(&self) -> bool {
        self.set_back
    }

    /// The look has come to the last message.
    pub(crate) fn saw_all(&mut self) {
        self.set_back = self.astray;
    }

    /// For how long `message` still waits. Zero: it may be delivered.
    pub(crate) fn left(
        &mut self,
        message: &Message,
        settings: &MessageSettings,
        now: Moment,
    ) -> Duration {
        let ahead = Duration::from_millis(message.message.not_before.saturating_sub(now.wall));
        if ahead.is_zero() {
            return ahead;
        }
        let meant = meant(message, settings);
        self.astray |= ahead > meant + SLACK;
        let most = now.steady + ahead.min(meant);
        let seen = self.latest.entry(message.id);
        let (failures, latest) = seen.or_insert((message.failures, most));
        if *failures != message.failures {
            (*failures, *latest) = (message.failures, most);
        }
        latest.saturating_duration_since(now.steady).min(ahead)
    }

    /// What came of the message has been written down.
    pub(crate) fn forget(&mut self, id: MessageId) {
        self.latest.remove(&id);
    }
}

/// For how long a message is meant to wait.
fn meant(message: &Message, settings: &MessageSettings) -> Duration {
    match message.failures.checked_sub(1) {
        Some(before) => settings.retry(before).unwrap_or_default(),
        None if message.revived => Duration::ZERO,
        None => {
            let sent = &message.message;
            let held = sent.not_before.saturating_sub(sent.published_at);
            Duration::from_millis(held).min(settings.delay_most)
        }
    }
}

#[cfg(test)]
mod tests {
    use canopy_runtime::queue::NewMessage;

    use super::*;

    const HOUR: u64 = 60 * 60 * 1000;
    const NOON: u64 = 12 * HOUR;

    fn message(not_before: u64, failures: u32) -> Message {
        Message {
            id: MessageId::new(),
            message: NewMessage {
                topic: "orders".into(),
                sender: "shop".into(),
                content_type: None,
                reply_to: None,
                body: Vec::new(),
                published_at: NOON,
                not_before,
            },
            failures,
            error: None,
            revived: false,
            place: String::new(),
        }
    }

    /// A lane whose two clocks go apart.
    struct Clocks {
        waits: Waits,
        start: Instant,
    }

    impl Clocks {
        fn new() -> Self {
            Self {
                waits: Waits::default(),
                start: Instant::now(),
            }
        }

        /// The machine's clock at `wall`, so many milliseconds after the start.
        fn at(&self, wall: u64, passed: u64) -> Moment {
            Moment {
                wall,
                steady: self.start + Duration::from_millis(passed),
            }
        }

        /// Milliseconds that `message` waits then.
        fn left(&mut self, message: &Message, wall: u64, passed: u64) -> u128 {
            let settings = MessageSettings::default();
            let now = self.at(wall, passed);
            self.waits.left(message, &settings, now).as_millis()
        }

        /// Whether a look at `messages` then has to go on to the last.
        fn looks_at_all(&mut self, messages: &[&Message], wall: u64, passed: u64) -> bool {
            let now = self.at(wall, passed);
            self.waits.begin(now);
            let all = self.waits.looks_at_all();
            for message in messages {
                self.left(message, wall, passed);
            }
            self.waits.saw_all();
            all
        }
    }

    #[test]
    fn with_a_clock_that_goes_on_a_message_waits_until_its_time() {
        let mut clocks = Clocks::new();
        let held = message(NOON + HOUR, 0);
        assert_eq!(clocks.left(&held, NOON, 0), u128::from(HOUR));
        assert_eq!(clocks.left(&held, NOON + HOUR - 1, HOUR - 1), 1);
        assert_eq!(clocks.left(&held, NOON + HOUR, HOUR), 0);
    }

    #[test]
    fn what_was_not_held_back_is_due_by_any_clock() {
        assert_eq!(Clocks::new().left(&message(NOON, 0), NOON - 5 * HOUR, 0), 0);
    }

    #[test]
    fn what_is_taken_up_again_is_due_by_any_clock() {
        let mut revived = message(NOON + 30 * HOUR, 0);
        assert_ne!(Clocks::new().left(&revived, NOON + 6 * HOUR, 0), 0);
        revived.revived = true;
        assert_eq!(Clocks::new().left(&revived, NOON + 6 * HOUR, 0), 0);
    }

    #[test]
    fn set_back_in_a_running_node_a_message_waits_no_longer_than_it_would_have() {
        let mut clocks = Clocks::new();
        let failed = message(NOON + 4_000, 3);
        assert_eq!(clocks.left(&failed, NOON, 0), 4_000);
        assert_eq!(clocks.left(&failed, NOON - 5 * HOUR, 3_000), 1_000);
        assert_eq!(clocks.left(&failed, NOON - 5 * HOUR, 4_000), 0);
        let held = message(NOON + 2 * HOUR, 0);
        assert_eq!(clocks.left(&held, NOON, 0), u128::from(2 * HOUR));
        assert_eq!(clocks.left(&held, NOON - 5 * HOUR, 2 * HOUR), 0);
    }

    #[test]
    fn set_back_while_the_node_was_away_a_message_waits_for_one_pause_more() {
        let mut clocks = Clocks::new();
        let failed = message(NOON + 4_000, 3);
        assert_eq!(clocks.left(&failed, NOON - 5 * HOUR, 0), 4_000);
        assert_eq!(clocks.left(&failed, NOON - 5 * HOUR + 4_000, 4_000), 0);
        let held = message(NOON + HOUR, 0);
        assert_eq!(clocks.left(&held, NOON - 5 * HOUR, 0), u128::from(HOUR));
    }

    #[test]
    fn no_pause_is_over_the_longest() {
        let settings = MessageSettings::default();
        let longest = settings.retry_after_most.as_millis();
        let failed = message(u64::MAX, settings.attempts - 1);
        assert!(Clocks::new().left(&failed, NOON, 0) <= longest);
        let held = Clocks::new().left(&message(u64::MAX, 0), NOON, 0);
        assert_eq!(held, settings.delay_most.as_millis());
    }

    #[test]
    fn each_failure_has_a_pause_of_its_own() {
        let mut clocks = Clocks::new();
        let mut failed = message(NOON + 1_000, 1);
        assert_eq!(clocks.left(&failed, NOON - HOUR, 0), 1_000);
        assert_eq!(clocks.left(&failed, NOON - HOUR, 1_000), 0);
        failed.failures = 2;
        assert_eq!(clocks.left(&failed, NOON - HOUR, 1_000), 2_000);
        clocks.waits.forget(failed.id);
        assert!(clocks.waits.latest.is_empty());
    }

    #[test]
    fn set_far_forward_nothing_waits() {
        let mut clocks = Clocks::new();
        let failed = message(NOON + 4_000, 3);
        assert_eq!(clocks.left(&failed, NOON, 0), 4_000);
        assert_eq!(clocks.left(&failed, NOON + 9 * HOUR, 1), 0);
    }

    #[test]
    fn all_are_looked_at_first_and_while_the_clock_is_behind_one_of_them() {
        let mut clocks = Clocks::new();
        let (held, failed) = (message(NOON + HOUR, 0), message(NOON + 4_000, 3));
        let both = [&held, &failed];
        assert!(clocks.looks_at_all(&both, NOON, 0), "at the start");
        assert!(!clocks.looks_at_all(&both, NOON + 1_000, 1_000));
        let back = NOON - 5 * HOUR;
        for passed in [2_000, 3_000] {
            let now = back + passed;
            assert!(clocks.looks_at_all(&both, now, passed), "set back");
        }
        assert!(clocks.looks_at_all(&[], back + 4_000, 4_000), "they were");
        assert!(!clocks.looks_at_all(&[], back + 5_000, 5_000));
        // By less than has passed is back as well.
        assert!(clocks.looks_at_all(&[], back + 6_000, 30_000));
        // Forward is not.
        assert!(!clocks.looks_at_all(&[], NOON, 31_000));
    }
}
