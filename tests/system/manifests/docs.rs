//! The pages that users read: every block of code is parsed or run, and every name in them exists.
//!
//! A block says what it is behind its language: a name such as `gorani.toml` is a file that the reader writes (a second block of that name goes on with it), `run` is typed and ends, `terminal` goes on in a
//! terminal of its own, `output` is what the block before it shows (`…` stands for any text). [`blocks`] reads them, [`syntax`] parses them,
//! [`walk`] does what a page says in its order, [`names`] looks up settings, codes, metrics, paths, flags and targets, [`figures`] what was measured, [`versions`] what is tested.

mod blocks;
mod figures;
mod names;
mod syntax;
mod versions;
mod walk;
