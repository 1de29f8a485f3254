//! What frames are made of: text, numbers and optional fields.

mod text;

pub use text::Str;
