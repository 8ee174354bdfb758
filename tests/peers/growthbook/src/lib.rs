//! Never built: the package is here to fetch a crate whose tests ship cases.
