//! What people ask: one file a question, and one shape of its answer for the API, the pages and the command line.

pub mod selection;
