//! What a request was answered that must not be done twice.

/// A caller and its key, as one hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestKey(pub [u8; 32]);

/// The first answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Whose, under which key.
    pub request: RequestKey,
    /// A hash of what was asked for.
    pub body: [u8; 32],
    /// What was answered.
    pub text: String,
}
