//! `changeover conformance`: this server passes it, and servers that are broken in one way fail exactly the checks of it.

mod broken;
mod ours;
mod proxy;
mod reference;
