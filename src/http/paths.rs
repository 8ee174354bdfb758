//! How `routes.rs` says which handler answers which method on a path. What a path does not take is answered 405 with `Allow`.

use actix_web::dev::HttpServiceFactory;
use actix_web::http::Method;
use actix_web::{FromRequest, Handler, HttpRequest, Resource, Responder, web};

use super::problem::Problem;

/// A path and its methods so far.
pub struct Path {
    resource: Resource,
    methods: Vec<Method>,
}

/// Begins a path.
#[must_use]
pub fn path(pattern: &str) -> Path {
    Path { resource: web::resource(pattern), methods: Vec::new() }
}

impl Path {
    /// GET, and HEAD with it.
    pub fn get<F, A>(self, handler: F) -> Self
    where
        F: Handler<A>,
        A: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.on(Method::GET, handler.clone()).on(Method::HEAD, handler)
    }

    /// Any other method.
    pub fn on<F, A>(mut self, method: Method, handler: F) -> Self
    where
        F: Handler<A>,
        A: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.resource = self.resource.route(web::method(method.clone()).to(handler));
        self.methods.push(method);
        self
    }

    pub fn post<F, A>(self, handler: F) -> Self
    where
        F: Handler<A>,
        A: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.on(Method::POST, handler)
    }

    pub fn put<F, A>(self, handler: F) -> Self
    where
        F: Handler<A>,
        A: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.on(Method::PUT, handler)
    }

    pub fn delete<F, A>(self, handler: F) -> Self
    where
        F: Handler<A>,
        A: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.on(Method::DELETE, handler)
    }

    /// Whatever the method is.
    pub fn any<F, A>(mut self, handler: F) -> Self
    where
        F: Handler<A>,
        A: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.resource = self.resource.route(web::route().to(handler));
        self
    }

    /// The finished path, for `ServiceConfig::service`.
    pub fn service(self) -> impl HttpServiceFactory {
        let allow = self.methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
        self.resource.default_service(web::to(move |request: HttpRequest| {
            let problem = Problem::method_not_allowed(request.method().as_str(), allow.clone());
            async move { Err::<String, Problem>(problem) }
        }))
    }
}
