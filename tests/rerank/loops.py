"""The formulas once more, one number at a time, in float64."""

from __future__ import annotations

import math

import numpy as np


def dot(a, b) -> float:
    return float(sum(float(p) * float(q) for p, q in zip(a, b, strict=True)))


def expanded(query, neighbours, alpha):
    total = [float(value) for value in query]
    for x in neighbours:
        similarity = max(dot(query, x), 0.0)
        weight = 1.0 if alpha == 0 else similarity**alpha
        total = [t + weight * float(value) for t, value in zip(total, x, strict=True)]
    length = math.sqrt(dot(total, total))
    return [t / length for t in total]


def refined(x, k, beta):
    """z of every image."""
    z = []
    for i in range(len(x)):
        others = sorted((j for j in range(len(x)) if j != i), key=lambda j: -dot(x[i], x[j]))[:k]
        weights = {i: 1.0, **{j: beta * dot(x[i], x[j]) for j in others}}
        total = sum(weights.values())
        z.append([sum(w * float(x[j][d]) for j, w in weights.items()) / total for d in range(len(x[0]))])
    return z


def superglobal(query, x, k, beta):
    z = refined(x, k, beta)
    s1 = [dot(query, row) for row in z]
    first = sorted(range(len(x)), key=lambda i: -s1[i])[: k + 1]
    e = [max(z[i][d] for i in first) for d in range(len(query))]
    return [(s1[i] + dot(e, z[i])) / 2 for i in range(len(x))]


def affinity(neighbours, similarities, gamma):
    m = len(neighbours)
    of = [
        {int(j): float(s) for j, s in zip(*row, strict=True) if j >= 0}
        for row in zip(neighbours, similarities, strict=True)
    ]
    A = np.zeros((m, m))
    for i in range(m):
        for j in range(m):
            if i != j and j in of[i] and i in of[j]:
                A[i, j] = max(0.0, of[i][j]) ** gamma
    return A


def diffused(A, y, alpha):
    degrees = A.sum(1) + 1e-12
    S = np.array([[A[i, j] / math.sqrt(degrees[i] * degrees[j]) for j in range(len(A))] for i in range(len(A))])
    return np.linalg.solve(np.eye(len(A)) - alpha * S, y)


def reciprocal(query, candidates, k1, k2, weight):
    x = [query, *candidates]
    n = len(x)
    raw = [[max(0.0, 2 - 2 * dot(x[i], x[j])) if i != j else 0.0 for j in range(n)] for i in range(n)]
    d = [[value / max(row) if max(row) else 0.0 for value in row] for row in raw]
    near = [[i, *sorted((j for j in range(n) if j != i), key=lambda j: d[i][j])] for i in range(n)]

    def R(i, k):
        return {j for j in near[i][: k + 1] if i in near[j][: k + 1]}

    V = []
    for i in range(n):
        members = set(R(i, k1))
        for j in R(i, k1):
            half = R(j, round(k1 / 2))
            if len(half & R(i, k1)) >= 2 / 3 * len(half) - 1e-9:
                members |= half
        row = [math.exp(-d[i][j]) if j in members else 0.0 for j in range(n)]
        V.append([value / sum(row) for value in row])
    V = [[sum(V[i][j] for i in near[g][:k2]) / len(near[g][:k2]) for j in range(n)] for g in range(n)]
    distances = []
    for i in range(1, n):
        smaller = sum(min(a, b) for a, b in zip(V[0], V[i], strict=True))
        larger = sum(max(a, b) for a, b in zip(V[0], V[i], strict=True))
        distances.append((1 - weight) * (1 - smaller / larger) + weight * d[0][i])
    return distances
