//! What people ask of the store: each answer one function and one serializable shape.
