"""Policies that are known by the names of their layers."""
