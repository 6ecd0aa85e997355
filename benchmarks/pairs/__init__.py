"""Recorded pairs of real models: do the promises hold there, and what does the cascade save?"""
