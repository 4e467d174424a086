//! Which triangle, which side, which diagonal: the flags of level-3 kernels.

/// Whether a triangular matrix's diagonal is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Diag {
    /// It is read.
    Stored,
    /// It is all ones and never read.
    Unit,
}

/// Which triangle of a square matrix holds its elements; the other is never read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Triangle {
    /// On and below the diagonal.
    Lower,
    /// On and above the diagonal.
    Upper,
}

impl Triangle {
    /// The triangle that the same elements lie in once the matrix is transposed.
    #[must_use]
    pub const fn t(self) -> Self {
        match self {
            Self::Lower => Self::Upper,
            Self::Upper => Self::Lower,
        }
    }
}

/// On which side of the unknowns a matrix stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// `A·X = B`.
    Left,
    /// `X·A = B`.
    Right,
}

/// Which part of a symmetric result is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// On and below the diagonal; nothing else is touched.
    Lower,
    /// On and above the diagonal; nothing else is touched.
    Upper,
    /// All: the lower part, and its mirror image above.
    Both,
}

/// What becomes of the diagonal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Diagonal {
    /// It is computed like the rest.
    Kept,
    /// 0 is stored on it.
    Dropped,
}
