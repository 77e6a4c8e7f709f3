//! The stored response to a request that must not run twice.

/// The hash of a caller and its idempotency key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestKey(pub [u8; 32]);

/// The stored response to the first request with an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredResponse {
    /// The caller and the idempotency key.
    pub request: RequestKey,
    /// The hash of the request.
    pub body: [u8; 32],
    /// The body of the response.
    pub text: String,
}
