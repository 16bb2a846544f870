//! The roles that processes of a fleet divide between them.

/// What a process does; a fleet divides the roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Role {
    /// Receives OTLP and stores it, or publishes it where a broker has the queue.
    Receive,
    /// Consumes the queue where a broker has it, and evaluates complete traces.
    Evaluate,
    /// Asks judge models.
    Judge,
    /// Delivers scores and alerts.
    Deliver,
    /// Watches for drift, and purges expired bodies.
    Watch,
    /// Serves the API, metrics, health and pages.
    Web,
}

impl Role {
    /// The role as it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Receive => "receive",
            Self::Evaluate => "evaluate",
            Self::Judge => "judge",
            Self::Deliver => "deliver",
            Self::Watch => "watch",
            Self::Web => "web",
        }
    }
}
