//! What can go wrong with a call, as real engines were seen to do it, and who decides that it does.
//!
//! A call either does something (`create`, `start`, `stop`, `remove`) or looks. An engine may fail to answer, and may
//! answer late; it never says of a container that is there that it is not. Nothing could be promised on one that lies.

use std::time::Duration;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

/// What can go wrong: the calls, and what the streams give out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Call {
    /// `describe`
    Describe,
    /// `pull`
    Pull,
    /// One of the layers of a pull.
    Layer,
    /// `create`
    Create,
    /// `start`
    Start,
    /// `inspect`
    Inspect,
    /// `stop`
    Stop,
    /// `remove`
    Remove,
    /// `logs`
    Logs,
    /// One line of a followed output.
    Line,
    /// `list`
    List,
    /// `events`
    Events,
    /// One hint of the events.
    Hint,
    /// `testimony`
    Testimony,
}

/// How a call goes wrong. One that makes no sense for a call means [`Fault::NotDone`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// It does not.
    #[default]
    None,
    /// It is not done, and there is no answer. A hint is lost; a line breaks its stream.
    NotDone,
    /// It is done, and there is no answer.
    AnswerLost,
    /// It is done after this time, and answered then. The caller may be gone by then: it is done all the same.
    /// A hint comes that much later, after others.
    Late(Duration),
    /// There is no answer; and it is done after this time.
    LostAndLate(Duration),
    /// It is not done, and there is no answer, which shows after this time.
    Hang(Duration),
    /// It is done at once, and there is no answer, which shows after this time.
    DoneThenHang(Duration),
    /// A `create` conflicts with a name that is taken by nothing, for this time: no inspection shows it.
    Phantom(Duration),
    /// The disk is full: a `create`, a `start`, or a layer is refused. All else goes on.
    DiskFull,
    /// A hint comes twice.
    Twice,
    /// The stream of hints or lines ends here, without a word. A layer breaks off its pull, which is refused.
    Ends,
}

/// Decides which call goes wrong. It is asked once for each, when it is made, and must not use the engine.
pub type Faults = Box<dyn FnMut(Call) -> Fault + Send>;

/// How much goes wrong.
#[derive(Clone, Copy, Debug)]
pub struct Odds {
    /// How many calls of a thousand.
    pub per_mille: u32,
    /// The longest that something is late or hangs.
    pub longest: Duration,
}

/// Faults of every kind that a call can have, the same for the same seed.
pub fn seeded(seed: u64, odds: Odds) -> Faults {
    let mut dice = Xoshiro256PlusPlus::seed_from_u64(seed);
    Box::new(move |call| {
        if dice.random_range(0..1_000) >= odds.per_mille {
            return Fault::None;
        }
        let longest = u64::try_from(odds.longest.as_millis()).unwrap_or(u64::MAX).max(1);
        let time = Duration::from_millis(dice.random_range(1..=longest));
        let possible = possible(call, time);
        possible.get(dice.random_range(0..possible.len())).copied().unwrap_or_default()
    })
}

/// Only the `nth` (from 0) of these calls goes wrong: to enumerate them all, one after another.
pub fn nth(call: Call, nth: usize, fault: Fault) -> Faults {
    let mut before = nth;
    Box::new(move |made| match before.checked_sub(usize::from(made == call)) {
        None => {
            before = usize::MAX;
            fault
        }
        Some(left) => {
            before = left;
            Fault::None
        }
    })
}

/// The faults that this call can have.
fn possible(call: Call, time: Duration) -> Vec<Fault> {
    use Fault::{
        AnswerLost, DiskFull, DoneThenHang, Ends, Hang, Late, LostAndLate, NotDone, Phantom, Twice,
    };
    match call {
        Call::Create => vec![
            NotDone,
            AnswerLost,
            Late(time),
            LostAndLate(time),
            Hang(time),
            DoneThenHang(time),
            Phantom(time),
            DiskFull,
        ],
        Call::Start => {
            vec![
                NotDone,
                AnswerLost,
                Late(time),
                LostAndLate(time),
                Hang(time),
                DoneThenHang(time),
                DiskFull,
            ]
        }
        Call::Stop | Call::Remove => {
            vec![NotDone, AnswerLost, Late(time), LostAndLate(time), Hang(time), DoneThenHang(time)]
        }
        Call::Pull => vec![NotDone, AnswerLost, Late(time), Hang(time)],
        Call::Layer => vec![NotDone, Late(time), Hang(time), DiskFull, Ends],
        Call::Hint => vec![NotDone, Late(time), Twice, Ends],
        Call::Line => vec![NotDone, Late(time), Ends],
        Call::Describe
        | Call::Inspect
        | Call::Logs
        | Call::List
        | Call::Events
        | Call::Testimony => {
            vec![NotDone, Late(time), Hang(time)]
        }
    }
}
