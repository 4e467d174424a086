//! Flags of the level-3 kernels: triangle, side, diagonal, part.

/// The diagonal of a triangular matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Diag {
    /// Stored with the matrix and read.
    Stored,
    /// All ones, and never read.
    Unit,
}

/// The stored triangle of a square matrix; the other one is never read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Triangle {
    /// On and below the diagonal.
    Lower,
    /// On and above the diagonal.
    Upper,
}

impl Triangle {
    /// Returns the stored triangle of the transpose.
    #[must_use]
    pub const fn t(self) -> Self {
        match self {
            Self::Lower => Self::Upper,
            Self::Upper => Self::Lower,
        }
    }
}

/// The side of the unknowns on which the matrix stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// `A·X = B`.
    Left,
    /// `X·A = B`.
    Right,
}

/// The part of a symmetric result that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// On and below the diagonal; no other element is touched.
    Lower,
    /// On and above the diagonal; no other element is touched.
    Upper,
    /// Both triangles: the upper one mirrors the lower one.
    Both,
}

/// The diagonal of a symmetric result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Diagonal {
    /// Computed like all other elements.
    Kept,
    /// Set to 0.
    Dropped,
}
