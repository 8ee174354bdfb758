//! Forms with a file in them (`multipart/form-data`): read part by part while they come in, never held in memory as a whole. The token that
//! every form carries stands in the first part, so nothing is read of a form that is not ours.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_multipart::{Field, Multipart, MultipartError};
use actix_web::dev::Payload;
use actix_web::web::Bytes;
use actix_web::{FromRequest, HttpRequest};
use futures_core::Stream;

use super::form::{Fields, check_origin, check_token};
use super::session::{Member, signed};
use crate::http::auth::Permission;
use crate::http::problem::{Code, Problem};

/// How long a browser may be silent in the middle of a form.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// What is left of a form that is refused is read and forgotten for so long, because a browser reads no answer before it has sent all.
const FORGETTING_MAX: Duration = Duration::from_secs(30);
/// The longest text in a part that is no file, in bytes.
const TEXT_BYTES_MAX: usize = 16 << 10;

/// A form of somebody whose role covers `P`, of which the first part has been read.
pub struct Parts<P> {
    pub member: Member<P>,
    rest: Multipart,
}

impl<P: Permission> FromRequest for Parts<P> {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (request, form) = (request.clone(), Multipart::from_request(request, payload));
        Box::pin(async move {
            check_origin(&request)?;
            let signed = signed(&request).await?;
            let mut rest = form.await.map_err(|error| unreadable(&error))?;
            let first = match next_of(&mut rest).await? {
                Some(part) if part.name == "csrf" => part.text().await?,
                _ => String::new(),
            };
            check_token(&Fields::new(vec![(String::from("csrf"), first)]), &signed.secret)?;
            Ok(Self { member: Member::check(signed)?, rest })
        })
    }
}

impl<P> Parts<P> {
    /// The next part, in the order of the form's fields.
    pub async fn next(&mut self) -> Result<Option<Part>, Problem> {
        next_of(&mut self.rest).await
    }

    /// Reads what is left without keeping it, so that the browser gets to read the answer.
    pub async fn forget_rest(mut self) {
        let forgetting = async {
            while let Ok(Some(mut part)) = self.next().await {
                while let Ok(Some(_)) = part.piece().await {}
            }
        };
        // Whoever takes longer than that is not answered.
        drop(tokio::time::timeout(FORGETTING_MAX, forgetting).await);
    }
}

async fn next_of(form: &mut Multipart) -> Result<Option<Part>, Problem> {
    let next = std::future::poll_fn(|context| Pin::new(&mut *form).poll_next(context));
    match tokio::time::timeout(SILENCE_MAX, next).await {
        Ok(Some(Ok(field))) => Ok(Some(Part::of(field))),
        Ok(None) => Ok(None),
        Ok(Some(Err(error))) => Err(unreadable(&error)),
        Err(_) => Err(silent()),
    }
}

/// One field of a form.
pub struct Part {
    pub name: String,
    /// What the browser calls the file; empty if none was chosen.
    pub file_name: String,
    field: Field,
    /// What was read ahead.
    first: Option<Bytes>,
    /// Its end was read: the field must not be asked again.
    is_over: bool,
}

impl Part {
    fn of(field: Field) -> Self {
        let file_name = field.content_disposition().and_then(|told| told.get_filename()).unwrap_or_default().to_owned();
        Self { name: field.name().unwrap_or_default().to_owned(), file_name, field, first: None, is_over: false }
    }

    /// All of it, as a text.
    pub async fn text(mut self) -> Result<String, Problem> {
        let mut text = Vec::new();
        while let Some(piece) = self.piece().await? {
            if text.len() + piece.len() > TEXT_BYTES_MAX {
                let detail = format!("The field {} holds too much, so nothing was done.", self.name);
                return Err(Problem::new(Code::TooLarge, detail));
            }
            text.extend_from_slice(&piece);
        }
        String::from_utf8(text).map_err(|_| Problem::new(Code::InvalidRequest, "The form is not UTF-8."))
    }

    /// Reads its beginning ahead: two bytes at least, unless it is shorter.
    pub async fn beginning(&mut self) -> Result<&[u8], Problem> {
        let mut begun = self.first.take().map(|first| first.to_vec()).unwrap_or_default();
        while begun.len() < 2 {
            match self.piece().await? {
                Some(piece) => begun.extend_from_slice(&piece),
                None => break,
            }
        }
        Ok(self.first.insert(Bytes::from(begun)))
    }

    async fn piece(&mut self) -> Result<Option<Bytes>, Problem> {
        let next = std::future::poll_fn(|context| Pin::new(&mut *self).poll_next(context));
        match tokio::time::timeout(SILENCE_MAX, next).await {
            Ok(next) => next.transpose().map_err(|error| unreadable(&error)),
            Err(_) => Err(silent()),
        }
    }
}

impl Stream for Part {
    type Item = Result<Bytes, MultipartError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.first.take() {
            Some(first) if !first.is_empty() => Poll::Ready(Some(Ok(first))),
            _ if self.is_over => Poll::Ready(None),
            _ => {
                let next = Pin::new(&mut self.field).poll_next(context);
                self.is_over = matches!(next, Poll::Ready(None | Some(Err(_))));
                next
            }
        }
    }
}

fn unreadable(error: &dyn std::fmt::Display) -> Problem {
    Problem::new(
        Code::InvalidRequest,
        format!("Nothing was done: the form was broken off, or is not one of ours ({error})."),
    )
}

fn silent() -> Problem {
    Problem::new(Code::InvalidRequest, "Nothing was done: the browser was silent for too long.")
}
