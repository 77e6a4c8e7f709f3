//! The faults of a call, as seen on real engines, and the functions that choose them.
//!
//! A call either changes something (`create`, `start`, `stop`, `remove`) or only reads. An engine
//! may fail to answer, or answer late. **Invariant:** an engine never claims that an existing
//! container is missing. Nothing could be promised on an engine that lies.

use std::time::Duration;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

/// The operations that can fail: the calls, and the items of the streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Call {
    Describe,
    Pull,
    /// A layer of a pull.
    Layer,
    Create,
    Start,
    Inspect,
    Stop,
    Remove,
    Logs,
    /// A line of a followed output.
    Line,
    List,
    Events,
    /// A container event in the stream of events.
    ContainerEvent,
    Evidence,
}

/// The way in which a call fails. A fault that makes no sense for a call means [`Fault::NotDone`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// No fault: the call succeeds.
    #[default]
    None,
    /// The call is not performed and gets no answer. A container event is lost; a line breaks its
    /// stream.
    NotDone,
    /// The call is performed and gets no answer.
    AnswerLost,
    /// The call is performed and answered after this time, even when the caller has gone by then. A
    /// container event arrives that much later, after others.
    Late(Duration),
    /// The call gets no answer and is performed after this time.
    LostAndLate(Duration),
    /// The call is not performed, and fails without an answer after this time.
    Hang(Duration),
    /// The call is performed at once, and fails without an answer after this time.
    DoneThenHang(Duration),
    /// A `create` conflicts with a name that no container has, for this time. No inspection shows
    /// the name.
    Phantom(Duration),
    /// The disk is full: a `create`, a `start`, or a layer is refused. All other calls succeed.
    DiskFull,
    /// A container event comes twice.
    Twice,
    /// The stream of container events or lines ends without an error. A layer fails its pull, which
    /// is refused.
    Ends,
}

/// A function that chooses the fault of each call. The engine asks once per call, when the call is
/// made. The function must not use the engine.
pub type Faults = Box<dyn FnMut(Call) -> Fault + Send>;

/// The frequency and the length of faults.
#[derive(Clone, Copy, Debug)]
pub struct Odds {
    /// The number of failing calls in a thousand.
    pub per_mille: u32,
    /// The longest delay or hang.
    pub longest: Duration,
}

/// Returns faults of every kind that a call can have. Equal seeds give equal faults.
pub fn seeded(seed: u64, odds: Odds) -> Faults {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    Box::new(move |call| {
        if rng.random_range(0..1_000) >= odds.per_mille {
            return Fault::None;
        }
        let longest = u64::try_from(odds.longest.as_millis()).unwrap_or(u64::MAX).max(1);
        let time = Duration::from_millis(rng.random_range(1..=longest));
        let possible = possible(call, time);
        possible.get(rng.random_range(0..possible.len())).copied().unwrap_or_default()
    })
}

/// Fails only the `nth` of these calls (from 0), for tests that enumerate all of them.
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

/// Returns the faults that this call can have.
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
        Call::ContainerEvent => vec![NotDone, Late(time), Twice, Ends],
        Call::Line => vec![NotDone, Late(time), Ends],
        Call::Describe
        | Call::Inspect
        | Call::Logs
        | Call::List
        | Call::Events
        | Call::Evidence => {
            vec![NotDone, Late(time), Hang(time)]
        }
    }
}
