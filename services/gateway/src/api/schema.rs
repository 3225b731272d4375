//! Schemas of requests and results, as the OpenAPI document has them.

use utoipa::{
    ToSchema,
    openapi::{ComponentsBuilder, Ref, RefOr, Schema},
};

/// The schemas of one method.
pub(super) struct MethodSchemas {
    /// Of the request.
    pub(super) request: RefOr<Schema>,
    /// Of the result.
    pub(super) result: RefOr<Schema>,
    /// Adds both to the document.
    pub(super) register: fn(ComponentsBuilder) -> ComponentsBuilder,
}

impl MethodSchemas {
    pub(super) fn of<Request: ToSchema, Result: ToSchema>() -> Self {
        Self {
            request: reference::<Request>(),
            result: reference::<Result>(),
            register: |components| register::<Result>(register::<Request>(components)),
        }
    }
}

/// A reference to a type of the document.
pub(super) fn reference<T: ToSchema>() -> RefOr<Schema> {
    Ref::from_schema_name(T::name()).into()
}

/// Adds a type and all that it refers to.
pub(super) fn register<T: ToSchema>(components: ComponentsBuilder) -> ComponentsBuilder {
    let mut schemas = vec![(T::name().into_owned(), T::schema())];
    T::schemas(&mut schemas);
    components.schemas_from_iter(schemas)
}
