//! The rules of the start protocol, each of which can be switched off here, in the harness: whoever breaks one in the
//! scheduler is told by these tests, or the tests are worth nothing.

/// A rule that can be switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// What is acknowledged is on disk.
    AcceptedIsOnDisk,
    /// The intent is on disk before `start` is called.
    IntentIsOnDisk,
    /// The result is on disk before the container is removed.
    ResultIsOnDisk,
    /// The output is kept before the container is removed.
    OutputIsKeptFirst,
    /// A `start` without an answer is not called again.
    StartIsCalledOnce,
    /// A `start` without an answer has not failed.
    NoAnswerIsNoFailure,
    /// An inspection without an answer does not say that nothing is there.
    NoAnswerIsNoAbsence,
    /// A container is removed without force.
    RemovalIsWithoutForce,
    /// A container that is out of reach is asked about before it is made again.
    TheLogIsAsked,
    /// A container of the right name has to carry our labels.
    LabelsAreCompared,
    /// A container of another instance is not touched.
    OthersAreLeftAlone,
    /// Another engine behind the same address is not worked with.
    EngineIsCompared,
    /// A transition that was decided on an older version is refused.
    VersionsAreCompared,
    /// The name of an attempt's container is taken once.
    NamesAreUnique,
}

impl Rule {
    pub const ALL: [Self; 14] = [
        Self::AcceptedIsOnDisk,
        Self::IntentIsOnDisk,
        Self::ResultIsOnDisk,
        Self::OutputIsKeptFirst,
        Self::StartIsCalledOnce,
        Self::NoAnswerIsNoFailure,
        Self::NoAnswerIsNoAbsence,
        Self::RemovalIsWithoutForce,
        Self::TheLogIsAsked,
        Self::LabelsAreCompared,
        Self::OthersAreLeftAlone,
        Self::EngineIsCompared,
        Self::VersionsAreCompared,
        Self::NamesAreUnique,
    ];
}
