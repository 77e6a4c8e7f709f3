//! The types of the table of calls.

/// A call: a method on a path.
pub(super) struct Call {
    /// The method in lower case, as OpenAPI writes it.
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    /// The stable name of the call in generated clients.
    pub(super) id: &'static str,
    pub(super) tag: &'static str,
    pub(super) summary: &'static str,
    pub(super) parameters: &'static [Parameter],
    pub(super) body: Option<Body>,
    pub(super) answers: &'static [Answer],
    /// The codes of problems of this call, besides those of every call.
    pub(super) problems: &'static [(u16, &'static [&'static str])],
    /// The `curl` line after `curl`, in which `$SERVER` is the server's address.
    pub(super) curl: &'static str,
    /// The line of the command line; empty if it has no such command.
    pub(super) cli: &'static str,
}

/// A parameter of the path, the query or the headers.
#[derive(Clone, Copy)]
pub(super) struct Parameter {
    pub(super) name: &'static str,
    /// `path`, `query` or `header`.
    pub(super) place: &'static str,
    /// The schema, in JSON.
    pub(super) schema: &'static str,
    pub(super) doc: &'static str,
}

/// The body of a request.
#[derive(Clone, Copy)]
pub(super) struct Body {
    /// The name of the schema.
    pub(super) schema: &'static str,
    pub(super) required: bool,
    /// A form is taken as well as JSON.
    pub(super) form: bool,
    /// An example, in JSON.
    pub(super) example: &'static str,
}

/// An answer without a problem.
#[derive(Clone, Copy)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) doc: &'static str,
    pub(super) content: Content,
    /// The headers that the answer has besides those of every answer.
    pub(super) headers: &'static [&'static str],
}

/// The content of an answer.
#[derive(Clone, Copy)]
pub(super) enum Content {
    Nothing,
    /// JSON with the schema of this name.
    Json(&'static str),
    /// The content types, each a text or a stream.
    Text(&'static [&'static str]),
}

impl Answer {
    pub(super) const fn json(status: u16, schema: &'static str, doc: &'static str) -> Self {
        Self { status, doc, content: Content::Json(schema), headers: &[] }
    }

    pub(super) const fn tagged(status: u16, schema: &'static str, doc: &'static str) -> Self {
        Self { status, doc, content: Content::Json(schema), headers: &["ETag"] }
    }

    pub(super) const fn nothing(status: u16, doc: &'static str) -> Self {
        Self { status, doc, content: Content::Nothing, headers: &[] }
    }

    pub(super) const fn text(kinds: &'static [&'static str], doc: &'static str) -> Self {
        Self { status: 200, doc, content: Content::Text(kinds), headers: &[] }
    }
}

impl Parameter {
    pub(super) const fn query(name: &'static str, schema: &'static str, doc: &'static str) -> Self {
        Self { name, place: "query", schema, doc }
    }

    pub(super) const fn path(name: &'static str, schema: &'static str, doc: &'static str) -> Self {
        Self { name, place: "path", schema, doc }
    }

    pub(super) const fn header(
        name: &'static str,
        schema: &'static str,
        doc: &'static str,
    ) -> Self {
        Self { name, place: "header", schema, doc }
    }
}
