"""Numerical kernels: for each the choice by device, the definition in plain torch, and one in Triton for GPUs."""
