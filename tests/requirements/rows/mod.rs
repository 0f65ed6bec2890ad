//! The rows: what is asked, in our words, and how this server meets it.

mod connections;
mod messages;
mod settings;
mod transport;

/// One requirement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) id: &'static str,
    /// M must, S should, P may; none if it only follows from others.
    pub(crate) level: &'static str,
    pub(crate) applies: Applies,
    /// What the server does.
    pub(crate) asks: &'static str,
    /// How ours does, or which law wins.
    pub(crate) how: &'static str,
}

/// The transports that a row is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Applies {
    Both,
    WebSocket,
    Http,
}

pub(crate) const ROWS: [&[Row]; 5] = [
    transport::ROWS,
    messages::ROWS,
    connections::ROWS,
    settings::ROWS,
    settings::REQUESTS,
];

const fn row(
    applies: Applies,
    id: &'static str,
    level: &'static str,
    asks: &'static str,
    how: &'static str,
) -> Row {
    Row {
        id,
        level,
        applies,
        asks,
        how,
    }
}
