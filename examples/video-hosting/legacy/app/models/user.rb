# frozen_string_literal: true

# Whoever uploads videos, and pays for them.
class User < ApplicationRecord
  has_many :videos, dependent: :destroy
  has_many :charges, dependent: :destroy

  validates :name, presence: true
  before_validation { self.name = name&.strip }
  before_save { self.company = company.presence }
  after_create { videos.create!(title: Video::WELCOME) }

  # One account of two that turned out to be the same person: everything becomes the other one's.
  def absorb!(other)
    transaction do
      lock!
      Charge.where(user_id: other.id).update_all(user_id: id)
      Video.where(user_id: other.id).update_all(["user_id = ?, lock_version = lock_version + 1", id])
      User.reset_counters(id, :videos)
      other.reload.destroy!
    end
    reload
  end
end
