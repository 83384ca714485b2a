"""Whitening by loops over numbers, in float64, sharing nothing with the code under test."""

from __future__ import annotations

import math

Matrix = list[list[float]]


def mean_of(rows: Matrix) -> list[float]:
    return [math.fsum(row[i] for row in rows) / len(rows) for i in range(len(rows[0]))]


def scatter_about(rows: Matrix, point: list[float]) -> Matrix:
    """Sum over the rows of (x - point)(x - point)^T."""
    size = range(len(point))
    return [[math.fsum((x[i] - point[i]) * (x[j] - point[j]) for x in rows) for j in size] for i in size]


def times(one: Matrix, other: Matrix) -> Matrix:
    return [
        [math.fsum(one[i][k] * other[k][j] for k in range(len(other))) for j in range(len(other[0]))]
        for i in range(len(one))
    ]


def transposed(matrix: Matrix) -> Matrix:
    return [list(column) for column in zip(*matrix, strict=True)]


def eigen(matrix: Matrix, sweeps: int = 60) -> tuple[list[float], Matrix]:
    """Eigenvalues, largest first, and eigenvectors in rows, by Jacobi's rotations."""
    n = len(matrix)
    a = [row[:] for row in matrix]
    v = [[float(i == j) for j in range(n)] for i in range(n)]
    for _ in range(sweeps):
        for p in range(n):
            for q in range(p + 1, n):
                if a[p][q] == 0:
                    continue
                theta = (a[q][q] - a[p][p]) / (2 * a[p][q])
                t = math.copysign(1, theta) / (abs(theta) + math.sqrt(theta * theta + 1))
                c = 1 / math.sqrt(t * t + 1)
                turn = [[float(i == j) for j in range(n)] for i in range(n)]
                turn[p][p] = turn[q][q] = c
                turn[p][q], turn[q][p] = t * c, -t * c
                a = times(times(transposed(turn), a), turn)
                v = times(v, turn)
    order = sorted(range(n), key=lambda i: -a[i][i])
    return [a[i][i] for i in order], [[v[k][i] for k in range(n)] for i in order]


def cholesky(matrix: Matrix) -> Matrix:
    n = len(matrix)
    lower = [[0.0] * n for _ in range(n)]
    for i in range(n):
        for j in range(i + 1):
            rest = matrix[i][j] - math.fsum(lower[i][k] * lower[j][k] for k in range(j))
            lower[i][j] = math.sqrt(rest) if i == j else rest / lower[j][j]
    return lower


def inverse_of_lower(lower: Matrix) -> Matrix:
    """By forward substitution, a column of the identity at a time."""
    n = len(lower)
    columns = []
    for c in range(n):
        x: list[float] = []
        for i in range(n):
            x.append((float(i == c) - math.fsum(lower[i][k] * x[k] for k in range(i))) / lower[i][i])
        columns.append(x)
    return transposed(columns)


def pca(rows: Matrix, power: float) -> tuple[list[float], Matrix]:
    """(mean, P) with P = Lambda^(-power/2) E^T."""
    mean = mean_of(rows)
    covariance = [[value / len(rows) for value in line] for line in scatter_about(rows, mean)]
    values, vectors = eigen(covariance)
    return mean, [[x * value ** (-power / 2) for x in row] for value, row in zip(values, vectors, strict=True)]


def learned(rows: Matrix, pairs: list[tuple[int, int]]) -> tuple[list[float], Matrix]:
    """(mean, P) from pairs of row numbers (query, positive)."""
    mean = mean_of([rows[q] for q, _ in pairs])
    apart = [[a - b for a, b in zip(rows[q], rows[p], strict=True)] for q, p in pairs]
    zero = [0.0] * len(mean)
    s = [[value / len(pairs) for value in line] for line in scatter_about(apart, zero)]
    first = inverse_of_lower(cholesky(s))
    _, vectors = eigen(times(times(first, scatter_about(rows, mean)), transposed(first)))
    return mean, times(vectors, first)
