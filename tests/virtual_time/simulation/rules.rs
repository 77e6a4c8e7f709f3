//! The rules of the start protocol. The harness can switch off each of them, which proves that
//! these tests notice a scheduler that breaks the rule.

/// A rule that can be switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Acknowledged jobs are on disk.
    AcceptedIsOnDisk,
    /// The intent is on disk before `start` is called.
    IntentIsOnDisk,
    /// The result is on disk before the container is removed.
    ResultIsOnDisk,
    /// The output is stored before the container is removed.
    OutputIsKeptFirst,
    /// A `start` without an answer is not called again.
    StartIsCalledOnce,
    /// A `start` without an answer does not count as failed.
    NoAnswerIsNoFailure,
    /// An inspection without an answer does not count as absence.
    NoAnswerIsNoAbsence,
    /// A container is removed without force.
    RemovalIsWithoutForce,
    /// The event log is queried about an unreachable container before another is created.
    TheLogIsAsked,
    /// A container of the right name must carry our labels.
    LabelsAreCompared,
    /// A container of another instance is not touched.
    OthersAreLeftAlone,
    /// Another engine behind the same address is not used.
    EngineIsCompared,
    /// A transition decided on an older version is refused.
    VersionsAreCompared,
    /// The name of an attempt's container can be taken once only.
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
